"""STL-10 (Coates, Ng, Lee, 2011): binary files of 96 x 96 pictures."""

from pathlib import Path

import numpy as np

from auditor.data import image_folder
from auditor.data.downloads import data_folder
from auditor.data.samples import Arrays, Samples
from auditor.errors import DataError, first_line
from auditor.files import read_limited

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FOLDER = "stl10_binary"
SIDE = 96
LARGEST = 1 << 28
"""Bytes of the largest file that is read; the test pictures have 221 million."""


def find(place: Path | None, samples: int | None) -> Samples:  # noqa: ARG001
    """The 8,000 test images of ``test_X.bin``, or an image folder in ``place``.

    Raises:
        DataError: the files are not found, or they are damaged.
    """
    return _find("test", place)


def find_training(place: Path | None) -> Samples:
    """The 5,000 labelled training images of ``train_X.bin``, or an image folder; errors as :func:`find`."""
    return _find("train", place)


def _find(split: str, place: Path | None) -> Samples:
    folder = place or data_folder()
    found = next((spot for spot in (folder / FOLDER, folder) if (spot / f"{split}_X.bin").is_file()), None)
    if found is not None:
        return read_binary(found / f"{split}_X.bin", found / f"{split}_y.bin")
    if place is None:
        raise DataError(f"STL-10 is not downloaded: put the folder {FOLDER} into {folder}, or pass --data PATH")
    return image_folder.find(place, CLASSES, usual=f"STL-10's folder {FOLDER}")


def read_binary(images: Path, labels: Path) -> Arrays:
    """Pictures of 3 x 96 x 96 bytes, columns first, and labels from 1 to 10.

    Raises:
        DataError: a file is missing, or the files do not fit together.
    """
    try:
        pixels, numbers = (np.frombuffer(read_limited(path, LARGEST), np.uint8) for path in (images, labels))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read STL-10's files {images} and {labels.name}: {first_line(error)}") from error
    count = len(numbers)
    if len(pixels) != count * 3 * SIDE**2 or count == 0 or not 1 <= numbers.min() <= numbers.max() <= len(CLASSES):
        raise DataError(
            f"expected {3 * SIDE**2} bytes for each label from 1 to 10, got {len(pixels)} bytes in {images} and "
            f"{count} labels in {labels.name}"
        )
    pictures = pixels.reshape(count, 3, SIDE, SIDE).transpose(0, 1, 3, 2)
    return Arrays(np.ascontiguousarray(pictures), numbers.astype(np.int64) - 1)
