"""A place that a user names: an .npz file, or a folder of some layout."""

from collections.abc import Callable
from pathlib import Path

from auditor.data.npz import read_npz
from auditor.data.samples import Samples
from auditor.errors import DataError


def find_at(
    place: Path, name: str, classes: int, in_folder: Callable[[Path], Samples], *, what: str = "test"
) -> Samples:
    """What the file, or else ``in_folder`` in the folder, holds of the data set ``name`` with so many classes.

    Raises:
        DataError: there is nothing, or not what it should be.
    """
    if place.is_file():
        return read_npz(place, classes)
    if not place.is_dir():
        raise DataError(f"expected {name}'s {what} images in the folder or .npz file {place}, which is not there")
    return in_folder(place)
