"""Cursors: the end of a page of a list, as opaque text."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from auditor.db.filters import Cursor
from auditor.errors import UsageError
from auditor.records.results import ResultRow
from auditor.text.printable import check_storable

_TIMES = ("started_at",)
LARGEST = 2**53
Row = TypeVar("Row")


def split_page(rows: Sequence[Row], limit: int, encode: Callable[[Row], str]) -> tuple[Sequence[Row], str | None]:
    """The first ``limit`` of rows that were read with one more, and the cursor of the next page if there is one."""
    return rows[:limit], encode(rows[limit - 1]) if len(rows) > limit else None


def last_page(page: int, count: int, per_page: int) -> int:
    """The page of a numbered list, or the last one if there are not so many."""
    return max(1, min(page, -(-count // per_page)))


def encode_cursor(row: ResultRow, sort: str) -> str:
    """Make the cursor of the rows after this one in the order ``sort``."""
    return _encode([sort, getattr(row, sort.removeprefix("-")), row.id])


def decode_cursor(text: str | None, sort: str) -> Cursor | None:
    """Read a cursor. Raises UsageError if it is malformed or of another sort order."""
    if text is None:
        return None
    name = sort.removeprefix("-")
    try:
        order, value, number = _decode(text)
        if order != sort or isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
            raise ValueError
        return Cursor(_value(name, value), number)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _invalid_cursor() from error


def encode_name_cursor(name: str) -> str:
    """Make the cursor of the rows after this name in a list by name."""
    return _encode(["name", name])


def decode_name_cursor(text: str | None) -> str | None:
    """Read the cursor of a list by name. Raises UsageError if it is malformed or of another list."""
    if text is None:
        return None
    try:
        kind, name = _decode(text)
        if kind != "name" or not isinstance(name, str):
            raise ValueError
        return check_storable(name)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _invalid_cursor() from error


def encode_number_cursor(kind: str, number: int) -> str:
    """Make the cursor of the rows older than this one in a list by number, the newest first."""
    return _encode([kind, number])


def decode_number_cursor(kind: str, text: str | None) -> int | None:
    """Read the cursor of a list of this kind. Raises UsageError if it is malformed or of another list."""
    if text is None:
        return None
    try:
        found, number = _decode(text)
        if found != kind or isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**31:
            raise ValueError
        return number
    except (ValueError, TypeError, binascii.Error) as error:
        raise _invalid_cursor() from error


def _encode(content: list[Any]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _invalid_cursor() -> UsageError:
    return UsageError("invalid cursor for this list and sort order; start again without one")


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(value)
    words = name in ("model", "source", "dataset", "protocol")
    if isinstance(value, bool) or not isinstance(value, str if words else int | float):
        raise ValueError
    if not isinstance(value, str) and not abs(value) < LARGEST:  # NaN, infinite, or too large for a database
        raise ValueError
    return check_storable(value) if isinstance(value, str) else value
