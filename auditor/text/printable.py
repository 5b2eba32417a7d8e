"""Free text of other people, where it enters and where it leaves: no control characters, no formulas."""

import re
import unicodedata
from typing import Any

JOINERS = "\u200c\u200d"
"""Invisible, and part of words in some scripts and of emoji."""

FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""With these, the wide ones as well, a cell of a spreadsheet begins a formula."""

_ODD = ("Cc", "Cf", "Cs", "Zl", "Zp")


def find_unprintable(text: str) -> str:
    """The first control character, line break, half of a pair or mark of writing direction; empty if there is none."""
    if text.isascii() and text.isprintable():
        return ""
    return next((one for one in text if unicodedata.category(one) in _ODD and one not in JOINERS), "")


def check_printable(text: str) -> str:
    """``text`` as it is.

    Raises:
        ValueError: names the character that does not belong into it.
    """
    odd = find_unprintable(text)
    if odd:
        place = text.index(odd)
        around = clean_line(text[max(0, place - 20) : place + 20])
        raise ValueError(f"expected text without control characters, got U+{ord(odd):04X} in {around!r}")
    return text


def clean_line(text: str) -> str:
    """One line for a terminal or a log: what :func:`find_unprintable` finds is replaced by a space."""
    if not find_unprintable(text):
        return text
    return "".join(" " if find_unprintable(one) else one for one in text)


def clean_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback."""
    return "\n".join(clean_line(line.replace("\t", "    ")) for line in re.split(r"\r?\n", text))


def clean_cell(value: Any) -> Any:
    """A value of a CSV file: text is one line, and no formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    cleaned = clean_line(value)
    return f"'{cleaned}" if value.startswith(("\t", "\r", "\n")) or cleaned.lstrip().startswith(FORMULAS) else cleaned
