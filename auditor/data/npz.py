"""Data sets in one .npz file: arrays of images and labels, read without unpickling anything."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data.samples import Arrays
from auditor.errors import DataError, first_line

KEYS = (("images", "labels"), ("x", "y"))
CHANNELS = (1, 3)


def read_npz(path: Path, classes: int) -> Arrays:
    """Read images, uint8 ``(N, H, W, C)`` or ``(N, H, W)``, or float ``(N, C, H, W)`` in [0, 1], and labels ``(N,)``.

    Raises:
        DataError: the file is none of that kind, or an array is not what is said above.
    """
    try:
        with path.open("rb") as stream:
            images, labels = _arrays(np.load(stream, allow_pickle=False))
    except (OSError, ValueError, EOFError, MemoryError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"cannot read {path}: expected an .npz file of arrays images and labels, or x and y ({_reason(error)})"
        ) from error
    return Arrays(_images(path, images), _labels(path, labels, len(images) if images.ndim else 0, classes))


def _reason(error: Exception) -> str:
    """NumPy's own advice to unpickle what is no array is not passed on."""
    return "pickled objects are not read" if "pickle" in str(error) else first_line(error)


def _arrays(file: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array")
    names = next((pair for pair in KEYS if set(pair) <= set(file.files)), None)
    if names is None:
        raise ValueError(f"it has the arrays {', '.join(sorted(file.files)) or 'none'}")
    images, labels = (file[name] for name in names)
    if not (isinstance(images, np.ndarray) and isinstance(labels, np.ndarray)):
        raise ValueError(f"{names[0]} or {names[1]} is no array")
    return images, labels


def _images(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    expected = "uint8 images (N, H, W, C) or (N, H, W), or float32 in [0, 1] as (N, C, H, W), C 1 or 3"
    got = f"{images.dtype} {images.shape}"
    if images.size == 0:
        raise DataError(f"{path} holds no images: expected {expected}, got {got}")
    if images.dtype == np.uint8:
        if images.ndim == 3:
            return images[:, None]
        if images.ndim == 4 and images.shape[3] in CHANNELS:
            return images.transpose(0, 3, 1, 2)
    elif images.dtype in (np.float32, np.float64) and images.ndim == 4 and images.shape[1] in CHANNELS:
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):
            raise DataError(f"{path}: expected float images in [0, 1], got values from {low:g} to {high:g}")
        return images.astype(np.float32, copy=False)
    raise DataError(f"{path}: expected {expected}, got {got}")


def _labels(path: Path, labels: NDArray[Any], number: int, classes: int) -> NDArray[np.int64]:
    if labels.shape != (number,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: expected {number} integer labels (N,), got {labels.dtype} {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{path}: expected labels from 0 to {classes - 1}, got {low} to {high}")
    return labels.astype(np.int64)
