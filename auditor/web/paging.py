"""Cursors: where a page ended, as text that means something to this server alone."""

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from auditor.db.filters import Cursor
from auditor.errors import UsageError
from auditor.records.results import ResultRow

_TIMES = ("started_at",)


def cursor_after(row: ResultRow, sort: str) -> str:
    """The cursor of what follows this row in the order ``sort``."""
    return _packed([sort, getattr(row, sort.removeprefix("-")), row.id])


def read_cursor(text: str | None, sort: str) -> Cursor | None:
    """Raises UsageError where it is none of this order's."""
    if text is None:
        return None
    name = sort.removeprefix("-")
    try:
        order, value, number = _unpacked(text)
        if order != sort or not isinstance(number, int) or not 0 <= number < 2**31:
            raise ValueError
        return Cursor(_value(name, value), number)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _none_of_this_list() from error


def name_after(name: str) -> str:
    """The cursor of what follows this name in a list by name."""
    return _packed(["name", name])


def read_name(text: str | None) -> str | None:
    """Raises UsageError where it is none of a list by name."""
    if text is None:
        return None
    try:
        kind, name = _unpacked(text)
        if kind != "name" or not isinstance(name, str):
            raise ValueError
        return name
    except (ValueError, TypeError, binascii.Error) as error:
        raise _none_of_this_list() from error


def _packed(content: list[Any]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _none_of_this_list() -> UsageError:
    return UsageError("the cursor is none of this list's: begin again without one")


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(value)
    words = name in ("model", "source", "dataset", "protocol")
    if isinstance(value, bool) or not isinstance(value, str if words else int | float):
        raise ValueError
    return value
