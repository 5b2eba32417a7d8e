"""Find the line of each key in a TOML text, which tomllib does not report."""

import tomllib
from collections.abc import Iterator
from typing import Any

Key = tuple[str | int, ...]

CLOSERS = ("]", "}", '"""', "'''")


def lines_of(text: str) -> dict[Key, int]:
    """The line, from 1, on which each key and list item of a valid TOML text begins, by its path in the document.

    Keys inside a statement (inline tables, lists) have the first line of the statement.
    """
    found: dict[Key, int] = {}
    arrays: dict[Key, int] = {}  # how many tables an [[array of tables]] has so far
    table: Key = ()
    for number, statement, content in _statements(text):
        if statement.lstrip().startswith("["):
            table = _table(content, arrays)
            found.setdefault(table, number)
        else:
            for key in _keys(content):
                found.setdefault(table + key, number)
    return found


def line_of(key: Key, lines: dict[Key, int]) -> int:
    """The line of a key or of the first key inside it; for a missing key, the line of the nearest enclosing table."""
    inside = [line for other, line in lines.items() if key and other[: len(key)] == key]
    while key and key not in lines:
        key = key[:-1]
    return min(inside) if inside else lines.get(key, 1)


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each statement with its first line and its content; lines are joined until tomllib can parse them."""
    pending: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        pending.append(line.removesuffix("\r"))
        if len(pending) > 1 and not any(closer in line for closer in CLOSERS):
            continue  # in the middle of a list or of a long string
        try:
            content = tomllib.loads("\n".join(pending))
        except tomllib.TOMLDecodeError:
            continue
        if content:
            yield number - len(pending) + 1, pending[0], content
        pending = []


def _table(header: dict[str, Any], arrays: dict[Key, int]) -> Key:
    """The path of the table that a ``[header]`` opens, inside the last of each array of tables on the way."""
    path: Key = ()
    value: Any = header
    while value:
        (name, value), *_ = value.items()
        path = (*path, name)
        if isinstance(value, list):  # only the last name of [[a.b]] is a list
            arrays[path] = arrays.get(path, -1) + 1
            value = {}
        if path in arrays:
            path = (*path, arrays[path])
    return path


def _keys(value: Any, path: Key = ()) -> Iterator[Key]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from _keys(item, (*path, name))
