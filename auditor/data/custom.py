"""Custom data sets: an image folder or an .npz file, with classes and superclasses from a zoo.toml."""

from pathlib import Path

from auditor.data import image_folder
from auditor.data.hierarchies import Hierarchy
from auditor.data.locations import find_at
from auditor.data.samples import Samples
from auditor.errors import DataError
from auditor.records import CustomData


def find_custom(name: str, custom: CustomData, folder: Path | None) -> Samples:
    """All samples at the data set's path, or in ``folder`` if it has no path.

    Raises:
        DataError: there is no path, it does not exist, or its contents do not fit the classes.
    """
    place = folder if custom.path is None else Path(custom.path).expanduser()
    if place is None:
        raise DataError(
            f"{name} has no path to its images: set path in zoo.toml, pass --data PATH, or use --protocol screen"
        )
    return find_at(place, name, len(custom.classes), lambda folder: image_folder.find(folder, custom.classes))


def custom_hierarchy(name: str, custom: CustomData) -> Hierarchy:
    """The superclasses that a custom data set defines.

    Raises:
        DataError: a class is named twice, a level does not have one label for each class, or the level does not exist.
    """
    count = len(custom.classes)
    twice = sorted({label for label in custom.classes if custom.classes.count(label) > 1})
    if twice:
        raise DataError(f"{name}: expected {count} different classes, got {twice[0]!r} twice")
    wrong = [(number, len(level)) for number, level in enumerate(custom.levels) if len(level) != count]
    if wrong:
        raise DataError(
            f"{name}: expected {count} superclasses, one a class, at level {wrong[0][0]}, got {wrong[0][1]}"
        )
    if not custom.levels:
        raise DataError(f"{name}: expected superclasses at one level or more, got none")
    if not 0 <= custom.headline < len(custom.levels):
        raise DataError(f"{name}: expected a headline level from 0 to {len(custom.levels) - 1}, got {custom.headline}")
    return Hierarchy(name, "the zoo's own", custom.classes, custom.levels, custom.headline)
