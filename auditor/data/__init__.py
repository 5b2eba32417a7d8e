"""Data sets: images ``(N, C, H, W)`` float32 in [0, 1], labels ``(N,)``, and class hierarchies as data files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.data import own as own_data
from auditor.data.digests import set_digest
from auditor.data.hierarchies import Hierarchy, load_hierarchy
from auditor.data.known import CLASSES, find_known
from auditor.data.samples import Samples
from auditor.errors import DataError, UsageError, first_line
from auditor.records import OwnData, Transform, ZooEntry

__all__ = [
    "CLASSES",
    "Hierarchy",
    "ImageSet",
    "check_images",
    "has_hierarchy",
    "hierarchy_of",
    "load_hierarchy",
    "load_images",
]


@dataclass(frozen=True)
class ImageSet:
    """Test images with their numbers in the data set's own order.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [0, 1].
        labels: ``(N,)`` int64; ``indices``: ``(N,)`` int64.
        pictures: ``(N,)`` uint64, digests of the pictures with their labels, before any transform.
        digest: SHA-256 over pixels, labels and indices.
        notes: what was done to them that a reader should know.
    """

    name: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    pictures: NDArray[np.uint64]
    digest: str
    notes: tuple[str, ...] = ()


def hierarchy_of(entry: ZooEntry) -> Hierarchy:
    """The classes of an entry's data set and their superclasses.

    Raises:
        UsageError: the data set is unknown.
        DataError: an own data set's superclasses do not cover its classes.
    """
    if entry.own_data is not None:
        return own_data.hierarchy(entry.dataset, entry.own_data)
    if entry.dataset not in CLASSES:
        raise UsageError(f"{entry.model}: no data set named {entry.dataset!r}; there is: {', '.join(CLASSES)}")
    return load_hierarchy(entry.dataset, CLASSES[entry.dataset])


def has_hierarchy(entry: ZooEntry) -> bool:
    """Whether the classes and superclasses of an entry's data set are known, so that it can be audited."""
    return entry.own_data is not None or entry.dataset in CLASSES


def check_images(name: str, samples: int | None, folder: Path | None = None, *, own: OwnData | None = None) -> None:
    """Find a data set's files, so that what is missing is said before any model is loaded; no picture is decoded.

    Arguments and errors as :func:`load_images`, which may still find a picture that cannot be read.
    """
    _find(name, samples, folder, own)


def load_images(
    name: str,
    samples: int | None,
    folder: Path | None = None,
    *,
    own: OwnData | None = None,
    transform: Transform | None = None,
    channels: int | None = None,
) -> ImageSet:
    """The first ``samples`` test images of a data set in its own order; all of them for None.

    Fashion-MNIST's first 1,000 are the shipped subset, whose classes take turns, so that any prefix is balanced; more
    than that is the whole test set in its own order. See docs/data.md for the other orders.

    Args:
        name: of a data set that auditor knows, or what ``own`` is called.
        samples: how many, at least 1.
        folder: where they lie, a folder or an .npz file; None looks in the data folder, and downloads what it can.
        own: the data set itself where it is none of those that auditor knows; its own path goes before ``folder``.
        transform: how a picture becomes a model's input.
        channels: of the model's input, 1 or 3; None takes the pictures' own.

    Raises:
        UsageError: the data set is unknown, or has fewer images than that.
        DataError: its files are missing or damaged, its images are not all of one size, or have colours that a model
            of one channel would lose.
    """
    found = _find(name, samples, folder, own)
    pixels, notes = found.pixels(transform, channels)
    pixels = np.ascontiguousarray(pixels)
    indices = np.arange(len(found.labels)) if found.indices is None else found.indices
    digest = set_digest(pixels, found.labels, indices)
    images = pixels if pixels.dtype == np.float32 else np.divide(pixels, np.float32(255), dtype=np.float32)
    return ImageSet(name, images, found.labels, indices, found.digests(), digest, notes)


def _find(name: str, samples: int | None, folder: Path | None, own: OwnData | None) -> Samples:
    if samples is not None and samples < 1:
        raise UsageError(f"expected at least 1 sample, got {samples}")
    try:
        found = find_known(name, samples, folder) if own is None else own_data.find(name, own, folder)
    except OSError as error:
        raise DataError(f"cannot look for {name}'s test images: {first_line(error)}") from error
    if samples is not None and samples > len(found.labels):
        raise UsageError(f"{name} has {len(found.labels)} test images, {samples} were asked for")
    if len(found.labels) == 0:
        raise DataError(f"{name} has no test images")
    return found.first(samples)
