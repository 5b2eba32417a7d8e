"""Options with a few words to choose from, and click's errors in plain words where a page shows them."""

import re
from typing import Any

import click

from auditor.text.similar import similar_names

_PHRASES = (
    (r"(.+) is not a valid (?:int|integer)(?: range)?\.", r"expected a whole number, got \1"),
    (r"(.+) is not a valid float(?: range)?\.", r"expected a number, got \1"),
    (r"(.+) is not in the range (.+)\.", r"expected a number in the range \2, got \1"),
)


class Choice(click.Choice[str]):
    """One of a few words; a misspelt one gets a suggestion."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ARG002
        *others, last = self.choices
        expected = f"{', '.join(others)} or {last}" if others else last
        similar = similar_names(str(value), self.choices, 1)
        return f"expected {expected}, got {value!r:.60}{f'; did you mean {similar[0]}?' if similar else ''}"


def describe_usage_error(error: click.UsageError) -> str:
    """Say in one line which option or argument is wrong, what it expects, and what it got."""
    if not isinstance(error, click.BadParameter) or error.param is None:
        message = " ".join(error.format_message().split())
        return f"{message[:1].lower()}{message[1:]}"
    name = error.param.opts[0]
    if isinstance(error, click.MissingParameter):
        return f"{name}: expected a value"
    message = error.message
    for pattern, words in _PHRASES:
        message = re.sub(rf"^{pattern}$", words, message)
    return f"{name}: {message}"
