"""Data sets in one .npz file: arrays of images and labels, read without unpickling anything."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data.samples import Arrays
from auditor.errors import DataError, first_line
from auditor.files import check_expansion, open_regular

KEYS = (("images", "labels"), ("x", "y"))
CHANNELS = (1, 3)
LAYOUTS = ("NHWC", "NCHW")
ROUNDING = 1e-3
"""How far float pixels may leave [0, 1]: a quarter of a level of 255, the rounding of half floats and interpolation."""


def read_npz(path: Path, classes: int) -> Arrays:
    """Read images and labels; docs/data.md says which.

    Raises:
        DataError: the file is no such .npz file, or an array has an unexpected shape, type or range.
    """
    try:
        with open_regular(path) as stream:
            if zipfile.is_zipfile(stream):
                check_expansion(stream)
            stream.seek(0)
            images, labels, layout = _arrays(np.load(stream, allow_pickle=False))
    except Exception as error:  # damaged archives and headers raise many types of errors
        raise DataError(
            f"cannot read {path}: expected an .npz file of arrays images and labels, or x and y ({_reason(error)})"
        ) from error
    try:
        ordered = _channels_first(images, layout)
        numbers = read_labels(labels, len(ordered), classes)
        pixels, notes = _pixels(ordered)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return Arrays(pixels, numbers, notes=notes)


def _reason(error: Exception) -> str:
    """Leave out NumPy's advice to unpickle objects, which auditor never does."""
    return "pickled objects are not read" if "pickle" in str(error) else first_line(error)


def _arrays(file: Any) -> tuple[NDArray[Any], NDArray[Any], str | None]:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array")
    pairs = [pair for pair in KEYS if set(pair) <= set(file.files)]
    if not pairs:
        raise ValueError(f"it has the arrays {', '.join(sorted(file.files)) or 'none'}")
    if len(pairs) > 1:
        raise ValueError("it has both images, labels and x, y: leave out one pair")
    names = pairs[0]
    images, labels = (file[name] for name in names)
    if not (isinstance(images, np.ndarray) and isinstance(labels, np.ndarray)):
        raise ValueError(f"{names[0]} or {names[1]} is no array")
    return images, labels, str(file["layout"]) if "layout" in file.files else None


def _channels_first(images: NDArray[Any], layout: str | None) -> NDArray[Any]:
    """Images ``(N, C, H, W)``, C 1 or 3, from the order that the shape or the file's ``layout`` determines."""
    got = f"{images.dtype} {images.shape}"
    if images.size == 0:
        raise ValueError(f"it holds no images: expected (N, H, W, C), (N, C, H, W) or (N, H, W), got {got}")
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"expected a layout of {' or '.join(LAYOUTS)}, got {layout!r:.60}")
    if images.ndim == 3:
        return images[:, None]
    last, first = (images.ndim == 4 and images.shape[axis] in CHANNELS for axis in (3, 1))
    if not (last or first) or (layout == "NHWC" and not last) or (layout == "NCHW" and not first):
        order = layout or "(N, H, W, C), (N, C, H, W) or (N, H, W)"
        raise ValueError(f"expected images {order}, C 1 or 3, got {got}")
    if last and first and layout is None:
        raise ValueError(
            f"the shape {images.shape} of the images fits NHWC and NCHW: save an array layout in the file, "
            'np.savez(…, layout="NHWC") or layout="NCHW"'
        )
    return images.transpose(0, 3, 1, 2) if last and layout != "NCHW" else images


def _pixels(images: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Bytes, or float32 in [0, 1], and a note if values were clipped to that range."""
    if images.dtype == np.bool_:
        return images.astype(np.float32), ()
    if not (np.issubdtype(images.dtype, np.integer) or np.issubdtype(images.dtype, np.floating)):
        raise ValueError(f"expected images of bytes 0 to 255 or floats in [0, 1], got {images.dtype}")
    low, high = images.min(), images.max()
    got = f"values from {low:.9g} to {high:.9g} ({images.dtype})"
    if np.issubdtype(images.dtype, np.integer):
        if low < 0 or high > 255:
            raise ValueError(f"expected integer pixels from 0 to 255, got {got}: scale them to floats in [0, 1]")
        return images.astype(np.uint8, copy=False), ()
    if not np.isfinite(images).all():
        raise ValueError(
            f"expected float images in [0, 1], got {int((~np.isfinite(images)).sum())} values NaN or infinite"
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(f"expected float images in [0, 1], got {got}: {_advice(float(low), float(high))}")
    notes = (f"pixels clipped to [0, 1]: {got}",) if low < 0 or high > 1 else ()
    return images.astype(np.float32, copy=False).clip(0, 1) if notes else images.astype(np.float32, copy=False), notes


def _advice(low: float, high: float) -> str:
    if low >= -ROUNDING:
        return "divide by 255, or save them as uint8" if 128 <= high <= 255 else "scale them to [0, 1]"
    if low >= -1 - ROUNDING and high <= 1 + ROUNDING:
        return "are they scaled to [-1, 1]? Save (x + 1) / 2, and set mean and std in zoo.toml to 0.5"
    return "are they normalized? Save x * std + mean, and set mean and std in zoo.toml"


def read_labels(labels: NDArray[Any], number: int, classes: int) -> NDArray[np.int64]:
    """Labels ``(N,)`` int64 from numbers ``(N,)`` or ``(N, 1)`` of any type, or one-hot rows ``(N, K)``.

    Raises:
        ValueError: the labels have another form, or are not from 0 to K - 1.
    """
    got = f"{labels.dtype} {labels.shape}"
    expected = f"expected {number} integer labels (N,)"
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{expected}, the numbers of the classes from 0, got {got}")
    if labels.shape == (number, classes) and _is_one_hot(labels):
        labels = labels.argmax(1)
    if labels.shape not in ((number,), (number, 1)):
        raise ValueError(f"{expected}, or one-hot rows ({number}, {classes}), got {got}")
    labels = labels.reshape(number)
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.floor(labels))).all():
        raise ValueError(f"{expected}, got fractions or NaN ({labels.dtype})")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        advice = ": they seem to count from 1, subtract 1" if low == 1 and high == classes else ""
        raise ValueError(f"expected labels from 0 to {classes - 1}, got {low} to {high}{advice}")
    return labels.astype(np.int64)


def _is_one_hot(labels: NDArray[Any]) -> bool:
    return bool((((labels == 0) | (labels == 1)).all(1) & (labels.sum(1) == 1)).all())
