"""Suggests names that are similar to a mistyped one."""

import difflib
from collections.abc import Iterable

LONGEST = 200
"""Longer text is no mistyped name, and takes long to compare."""


def similar_names(name: str, names: Iterable[str], most: int = 3, least: float = 0.6) -> list[str]:
    """The most similar names first, whatever the case; ``least`` is the similarity from 0 to 1 that they must have.

    Example:
        >>> similar_names("dmeo", ["demo", "timm"])
        ['demo']
    """
    by_case = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), list(by_case), most, least) if len(name) <= LONGEST else []
    return [by_case[key] for key in found]


def did_you_mean(name: str, names: Iterable[str], otherwise: str, most: int = 3, least: float = 0.6) -> str:
    """``did you mean … or …?`` with similar names; ``otherwise`` if there are none."""
    found = similar_names(name, names, most, least)
    return f"did you mean {' or '.join(found)}?" if found else otherwise
