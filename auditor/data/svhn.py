"""SVHN, cropped digits (Netzer et al., 2011): MATLAB files of 32 x 32 pictures, read with SciPy.

SciPy's reader is compiled code, which a damaged file can crash: only the published files are read with it.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from auditor.data import image_folder
from auditor.data.downloads import data_folder
from auditor.data.published_files import read_checked
from auditor.data.samples import Arrays, Samples
from auditor.errors import DataError, first_line

CLASSES = tuple("0123456789")
PUBLISHED = {
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
}
"""The MD5 of each file that is read, as torchvision has them."""


def find(place: Path | None, samples: int | None) -> Samples:  # noqa: ARG001
    """The 26,032 test images of ``test_32x32.mat``, or an image folder in ``place``.

    Raises:
        DataError: the file is not found, or it is damaged.
    """
    return _find("test", place)


def find_training(place: Path | None) -> Samples:
    """The 73,257 training images of ``train_32x32.mat``, or an image folder in ``place``; errors as :func:`find`."""
    return _find("train", place)


def _find(split: str, place: Path | None) -> Samples:
    name = f"{split}_32x32.mat"
    folder = place or data_folder()
    found = next((path for path in (folder / name, folder / "svhn" / name) if path.is_file()), None)
    if found is not None:
        return read_mat(found)
    if place is None:
        raise DataError(f"SVHN is not downloaded: put {name} into {folder}, or pass --data PATH")
    return image_folder.find(place, CLASSES, usual=f"SVHN's file {name}")


def read_mat(path: Path) -> Arrays:
    """``X (32, 32, 3, N)`` uint8 and ``y (N, 1)`` from 1 to 10, where 10 is the digit 0.

    Raises:
        DataError: the file is not the published one, or holds other arrays.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(BytesIO(read_checked(path, PUBLISHED.get(path.name))), variable_names=("X", "y"))
        images, labels = (np.asarray(content[name]) for name in ("X", "y"))
    except Exception as error:  # SciPy raises many types of errors for damaged files
        raise DataError(f"cannot read {path}: expected SVHN's arrays X and y ({_reason(error)})") from error
    numbers = labels.ravel()
    valid = images.dtype == np.uint8 and images.shape == (32, 32, 3, len(numbers)) and numbers.dtype.kind in "uif"
    if not valid or not np.isin(numbers, np.arange(11)).all():
        raise DataError(
            f"expected SVHN's X (32, 32, 3, N) of bytes and y (N, 1) from 1 to 10 in {path}, "
            f"got {images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
        )
    return Arrays(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), numbers.astype(np.int64) % 10)


def _reason(error: Exception) -> Any:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else first_line(error)
