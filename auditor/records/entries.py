"""Zoo entries as JSON, and back."""

import functools
from typing import Any

from pydantic import TypeAdapter

from auditor.errors import UsageError, first_line
from auditor.records import ZooEntry


@functools.cache
def _entries() -> TypeAdapter[ZooEntry]:
    return TypeAdapter(ZooEntry)


def entry_to(entry: ZooEntry) -> dict[str, Any]:
    """A zoo entry as JSON, including nested records."""
    dumped: dict[str, Any] = _entries().dump_python(entry, mode="json")
    return dumped


def entry_from(stored: dict[str, Any]) -> ZooEntry:
    return _entries().validate_python(stored)


def read_stored_entry(stored: dict[str, Any]) -> ZooEntry:
    """Raises UsageError if another version of auditor stored the entry."""
    try:
        return entry_from(stored)
    except ValueError as error:
        raise UsageError(f"its zoo entry was written by another version of auditor: {first_line(error)}") from error
