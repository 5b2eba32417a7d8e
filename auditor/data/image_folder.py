"""Image folders: one folder for each class, with a name that identifies the class."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from auditor.data.pictures import NOT_READ, SUFFIXES
from auditor.data.samples import Pictures
from auditor.errors import DataError

INSIDE = ("", "test", "val")
"""Subfolders that may hold the class folders; the first one with a class folder is used."""


@dataclass(frozen=True)
class ClassFolders:
    """The class folders in ``root`` by the class's number, and the other folders there."""

    root: Path
    folders: dict[int, Path]
    unknown: tuple[str, ...]


def locate(place: Path, *namings: Sequence[str]) -> ClassFolders | None:
    """The class folders in ``place``, its ``test`` or its ``val``; None if there are none.

    Each naming holds K names. Case and punctuation do not matter, since a class such as ``T-shirt/top`` cannot be a
    folder's name, unless two names differ only by them. Numbers from 0 to K - 1 are a naming, too, unless a class
    has a number as its name. The naming that fits most folders is used for all, so that namings are never mixed.

    Raises:
        DataError: two folders name the same class, or the folder cannot be read.
    """
    lookups = [_lookup(naming) for naming in namings]
    if not any(_plain(name).isdecimal() for naming in namings for name in naming):
        lookups.append(_lookup([str(number) for number in range(len(namings[0]))]))
    for root in (place / inside for inside in INSIDE):
        folders = _entries(root, folders=True) if root.is_dir() else []
        numbers = max(([look(folder.name) for folder in folders] for look in lookups), key=_known)
        if _known(numbers):
            unknown = tuple(folder.name for folder, number in zip(folders, numbers, strict=True) if number is None)
            return ClassFolders(root, _by_class(folders, numbers), unknown)
    return None


def _known(numbers: Sequence[int | None]) -> int:
    return sum(number is not None for number in numbers)


def _lookup(naming: Sequence[str]) -> Callable[[str], int | None]:
    """A function from a folder's name to the number of its class."""
    plain = {_plain(name): number for number, name in enumerate(naming)}
    if len(plain) == len(naming) and "" not in plain:
        return lambda name: plain.get(_plain(name))
    return {name: number for number, name in enumerate(naming)}.get


def find(place: Path, classes: Sequence[str], *, usual: str = "") -> Pictures:
    """All pictures of an image folder. Classes alternate, with sorted file names, so that every prefix is balanced.

    Args:
        place: holds the class folders, or ``test`` or ``val`` does.
        classes: K names in the order of the labels.
        usual: the other layout that was expected in ``place``, for the error message.

    Raises:
        DataError: a class's folder is missing, unknown, empty, or holds folders.
    """
    found = locate(place, classes)
    if found is None:
        there = _some([entry.name for entry in _entries(place, folders=True)]) or "no folders"
        raise DataError(
            f"expected {f'{usual}, or ' if usual else ''}one folder for each of {len(classes)} classes in {place} "
            f"(or in test or val there), named like {classes[0]!r}, got {there}"
        )
    missing = [name for number, name in enumerate(classes) if number not in found.folders]
    if missing or found.unknown:
        problems = {"missing": missing, "unknown": found.unknown}
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise DataError(f"expected one folder for each of {len(classes)} classes in {found.root}; {listed}")
    each = [[(path, number) for path in _pictures(found.folders[number])] for number in range(len(classes))]
    turns = [sample for turn in zip_longest(*each) for sample in turn if sample is not None]
    labels = np.array([number for _, number in turns], np.int64)
    return Pictures(tuple(path for path, _ in turns), labels, notes=_skipped_formats(found.folders.values()))


def _skipped_formats(folders: Iterable[Path]) -> tuple[str, ...]:
    """Notes on pictures of formats that are skipped, as torchvision skips them."""
    files = [path.suffix.lower() for folder in folders for path in _entries(folder, folders=False)]
    counts = Counter(suffix for suffix in files if suffix in NOT_READ)
    return tuple(f"{count} pictures skipped: {suffix} is not supported" for suffix, count in sorted(counts.items()))


def _pictures(folder: Path) -> list[Path]:
    inner = _entries(folder, folders=True)
    if inner:
        raise DataError(f"expected pictures in {folder}, got the folder {inner[0].name!r} there")
    found = [path for path in _entries(folder, folders=False) if path.suffix.lower() in SUFFIXES]
    if not found:
        others = sorted({path.suffix.lower() for path in _entries(folder, folders=False)} & set(NOT_READ))
        got = f"files ending in {', '.join(others)}" if others else "none"
        raise DataError(f"expected pictures in {folder} ({', '.join(SUFFIXES)}), got {got}")
    special = next((path for path in found if not path.is_file()), None)
    if special is not None:
        raise DataError(
            f"expected pictures in {folder}, got {special.name!r}, which is a pipe, a device or a broken link"
        )
    return found


def _entries(folder: Path, *, folders: bool) -> list[Path]:
    """Folders or files that are not hidden, sorted by name."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir() == folders]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return sorted(entries, key=lambda entry: entry.name)


def _by_class(folders: Sequence[Path], numbers: Sequence[int | None]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for folder, number in zip(folders, numbers, strict=True):
        if number is not None and number in found:
            raise DataError(f"{found[number].name!r} and {folder.name!r} in {folder.parent} name the same class")
        if number is not None:
            found[number] = folder
    return found


def _plain(name: str) -> str:
    """Lower case, one underscore for each run of other characters, numbers without leading zeros."""
    plain = re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
    return str(int(plain)) if plain.isdecimal() else plain


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
