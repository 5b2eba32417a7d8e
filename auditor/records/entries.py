"""Zoo entries as JSON, and back."""

from typing import Any

from auditor.errors import UsageError, first_line
from auditor.records import ZooEntry
from auditor.records.json import from_json, to_json


def entry_to(entry: ZooEntry) -> dict[str, Any]:
    """A zoo entry as JSON, including nested records."""
    return to_json(entry)


def entry_from(stored: dict[str, Any]) -> ZooEntry:
    return from_json(ZooEntry, stored)


def read_stored_entry(stored: dict[str, Any]) -> ZooEntry:
    """Raises UsageError if another version of auditor stored the entry."""
    try:
        return entry_from(stored)
    except ValueError as error:
        raise UsageError(f"its zoo entry was written by another version of auditor: {first_line(error)}") from error
