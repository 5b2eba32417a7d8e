"""CIFAR-10 and CIFAR-100 through torchvision, whose loaders check each file's MD5 before they unpickle it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auditor.data import image_folder
from auditor.data.downloads import data_folder, download
from auditor.data.samples import Arrays, Samples
from auditor.errors import DataError, first_line


def find(loader: str, classes: Sequence[str], place: Path | None, *, train: bool = False) -> Samples:
    """The test or training set: torchvision's files in ``place``, or an image folder there; for None, downloaded.

    Raises:
        DataError: the files are not found and cannot be downloaded, or they are not the published ones.
    """
    from torchvision import datasets

    kind: Any = getattr(datasets, loader)
    files = _batches(kind, place or data_folder(), train)
    if files is None and place is not None:
        return image_folder.find(place, classes, usual=f"torchvision's folder {kind.base_folder}")
    if files is None:
        root = data_folder()
        download(
            lambda: kind(str(root), train=train, download=True), loader, f"the folder {kind.base_folder} into {root}"
        )
        files = root / kind.base_folder
    return _read(kind, files, classes, train)


def _batches(kind: Any, place: Path, train: bool) -> Path | None:
    """The folder of the batches: torchvision's own in ``place``, or ``place`` itself."""
    (name, _), *_ = kind.train_list if train else kind.test_list
    return next((folder for folder in (place / kind.base_folder, place) if (folder / name).is_file()), None)


def _read(kind: Any, files: Path, classes: Sequence[str], train: bool) -> Arrays:
    """Check and read the batches of one set and the names of the classes; the other set may be missing."""
    reader = type(kind.__name__, (kind,), {"base_folder": "", "test_list" if train else "train_list": []})
    try:
        with warnings.catch_warnings():
            # The published pickles have dtypes of an old NumPy, of which the current one warns.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            batch = reader(str(files), train=train)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{files} does not hold {kind.__name__}'s published {'training batches' if train else 'test batch'}, "
            f"a file is missing or its MD5 differs: "
            f"unpack {kind.filename} there again ({first_line(error)})"
        ) from error
    if list(batch.classes) != list(classes):
        raise DataError(f"{files} names classes that are not {kind.__name__}'s: {', '.join(batch.classes[:3])}, …")
    return Arrays(batch.data.transpose(0, 3, 1, 2), np.asarray(batch.targets, np.int64))
