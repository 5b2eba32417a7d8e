"""Refuse a zoo.toml that is too large or nested too deep."""

import re
from typing import Any

MOST_BYTES = 4_000_000
DEEPEST = 50
KEY = re.compile(r"""[ \t]*([\w-]+|"[^"]*"|'[^']*')[ \t]*""")


def check_dots(text: str) -> None:
    """Refuse dotted keys with too many parts, for which the parser would take minutes.

    Raises:
        ValueError: a key is too long; the message names the line.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") <= DEEPEST:
            continue
        run = 0
        for part in line.split("."):
            run = run + 1 if KEY.fullmatch(part) else 0
            if run > DEEPEST:
                raise ValueError(f"expected keys of at most {DEEPEST} parts, got a longer one (at line {number})")


def check_depth(document: dict[str, Any]) -> None:
    """Refuse tables and lists that are nested too deep.

    Raises:
        ValueError: the nesting is too deep.
    """
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"expected at most {DEEPEST} levels of nested tables and lists, got more")
