"""Requests of jobs as JSON: a row stores everything that another process needs to run the job."""

from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import ValidationError

from auditor.errors import UsageError, one_line
from auditor.records.json import from_json
from auditor.text.validation import describe_first

T = TypeVar("T")


def load_request(kind: type[T], stored: dict[str, Any], what: str, required: Collection[str]) -> T:
    """Read a request that :func:`auditor.records.json.to_json` wrote. Unknown names are ignored.

    Args:
        what: the kind of job.
        required: names that must be stored, although the type may have defaults for them.

    Raises:
        UsageError: a ``required`` name is missing, or a value has another type.
    """
    for name in required:
        if name not in stored:
            raise other_version(what, f"no {name!r}")
    try:
        return from_json(kind, stored)
    except ValidationError as error:
        raise other_version(what, one_line(describe_first(error.errors()))) from error


def other_version(what: str, reason: str) -> UsageError:
    """The error for a stored request that this version cannot read."""
    return UsageError(
        f"the request of this {what} was stored by another version of auditor ({reason}): start a new {what}"
    )
