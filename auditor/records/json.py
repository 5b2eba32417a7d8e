"""Records as JSON, and back: one adapter for each kind of record."""

import functools
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(record: Any) -> dict[str, Any]:
    """A record as JSON, including nested records.

    Example:
        >>> from auditor.records.boosts import Recipe
        >>> from_json(Recipe, to_json(Recipe(epochs=3))).epochs
        3
    """
    kind: Any = type(record)
    dumped: dict[str, Any] = _adapter(kind).dump_python(record, mode="json")
    return dumped


def from_json(kind: type[T], stored: dict[str, Any] | bytes) -> T:
    """The record that :func:`to_json` wrote, from parsed JSON or from the bytes of a file. Unknown names are ignored.

    Raises:
        ValidationError: a required name is missing, or a value has another type.
    """
    adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]  # mypy takes the class for not hashable
    return adapter.validate_json(stored) if isinstance(stored, bytes) else adapter.validate_python(stored)
