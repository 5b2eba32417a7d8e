"""Checks and sanitizes free text: no control characters, no spreadsheet formulas."""

import re
import unicodedata
from typing import Any

JOINERS = "\u200c\u200d"
"""Invisible, and part of words in some scripts and of emoji."""

FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""A spreadsheet treats a cell that begins with one of these as a formula; the last four are full-width forms."""

_ODD = ("Cc", "Cf", "Cs", "Zl", "Zp")


def find_unprintable(text: str) -> str:
    """The first control character, line break, lone surrogate or direction mark; empty if there is none."""
    if text.isascii() and text.isprintable():
        return ""
    return next((one for one in text if unicodedata.category(one) in _ODD and one not in JOINERS), "")


def check_printable(text: str) -> str:
    """Return ``text`` unchanged if it is printable.

    Raises:
        ValueError: the text has an unprintable character; the message names it.
    """
    odd = find_unprintable(text)
    if odd:
        place = text.index(odd)
        around = clean_line(text[max(0, place - 20) : place + 20])
        raise ValueError(f"expected text without control characters, got U+{ord(odd):04X} in {around!r}")
    return text


def check_storable(text: str) -> str:
    """Return ``text`` unchanged if every database can store it. PostgreSQL stores neither NUL nor halves of pairs.

    Raises:
        ValueError: the text has a NUL character, or a lone surrogate: it is not UTF-8.
    """
    if "\0" in text:
        raise ValueError(f"expected text without NUL characters, got {clean_line(text[:40])!r}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"expected text in UTF-8, got {clean_line(text[:40])!r}")
    return text


def clean_line(text: str) -> str:
    """One line for a terminal or a log: each unprintable character becomes a space."""
    if not find_unprintable(text):
        return text
    return "".join(" " if find_unprintable(one) else one for one in text)


def clean_lines(text: str) -> str:
    """Like :func:`clean_line`, for text of several lines, such as a traceback."""
    return "\n".join(clean_line(line.replace("\t", "    ")) for line in re.split(r"\r?\n", text))


def clean_cell(value: Any) -> Any:
    """A value for a CSV file: text becomes one line that is no formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    cleaned = clean_line(value)
    return f"'{cleaned}" if value.startswith(("\t", "\r", "\n")) or cleaned.lstrip().startswith(FORMULAS) else cleaned
