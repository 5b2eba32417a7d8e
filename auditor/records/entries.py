"""Zoo entries as JSON, and back."""

import functools
from typing import Any

from pydantic import TypeAdapter

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
