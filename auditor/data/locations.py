"""The location of a data set: an .npz file, or a folder of some layout."""

from collections.abc import Callable
from pathlib import Path

from auditor.data.npz import read_npz
from auditor.data.samples import Samples
from auditor.errors import DataError


def find_at(
    path: Path, name: str, classes: int, in_folder: Callable[[Path], Samples], *, what: str = "test"
) -> Samples:
    """Read the .npz file at ``path``, or call ``in_folder`` with the folder, for the data set ``name``.

    Raises:
        DataError: the path does not exist, or its contents are not those of the data set.
    """
    if path.is_file():
        return read_npz(path, classes)
    if not path.is_dir():
        raise DataError(
            f"expected {name}'s {what} images in the folder or .npz file {path}, which is no existing file or folder"
        )
    return in_folder(path)
