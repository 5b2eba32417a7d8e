"""Data that users bring along: an image folder or an .npz file, with classes and superclasses of their own."""

from pathlib import Path

from auditor.data import image_folder
from auditor.data.hierarchies import Hierarchy
from auditor.data.place import find_at
from auditor.data.samples import Samples
from auditor.errors import DataError
from auditor.records import OwnData


def find(name: str, own: OwnData, folder: Path | None) -> Samples:
    """All samples at the data set's own path, or in ``folder`` where it has none.

    Raises:
        DataError: there is no path, nothing there, or not what the classes say.
    """
    place = folder if own.path is None else Path(own.path).expanduser()
    if place is None:
        raise DataError(f"{name} has no path to its images: give it one, pass --data PATH, or use --protocol screen")
    return find_at(place, name, len(own.classes), lambda folder: image_folder.find(folder, own.classes))


def hierarchy(name: str, own: OwnData) -> Hierarchy:
    """The superclasses that a data set brings along.

    Raises:
        DataError: a class is named twice, a level has not one label a class, or there is no such level.
    """
    count = len(own.classes)
    twice = sorted({label for label in own.classes if own.classes.count(label) > 1})
    if twice:
        raise DataError(f"{name}: expected {count} different classes, got {twice[0]!r} twice")
    odd = [(number, len(level)) for number, level in enumerate(own.levels) if len(level) != count]
    if odd:
        raise DataError(f"{name}: expected {count} superclasses, one a class, at level {odd[0][0]}, got {odd[0][1]}")
    if not own.levels:
        raise DataError(f"{name}: expected superclasses at one level or more, got none")
    if not 0 <= own.headline < len(own.levels):
        raise DataError(f"{name}: expected a headline level from 0 to {len(own.levels) - 1}, got {own.headline}")
    return Hierarchy(name, "the zoo's own", own.classes, own.levels, own.headline)
