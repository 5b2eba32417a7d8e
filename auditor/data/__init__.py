"""Data sets: images ``(N, C, H, W)`` float32 in [0, 1], labels ``(N,)``, and class hierarchies as data files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.data.custom import custom_hierarchy, find_custom
from auditor.data.digests import set_digest
from auditor.data.hierarchies import Hierarchy, load_hierarchy
from auditor.data.known import CLASSES, find_known
from auditor.data.samples import Samples
from auditor.errors import DataError, NotFoundError, TooFewImagesError, UsageError, first_line
from auditor.records import CustomData, Transform, ZooEntry

__all__ = [
    "CLASSES",
    "CorruptedImages",
    "Hierarchy",
    "ImageSet",
    "check_images",
    "find_samples",
    "has_hierarchy",
    "hierarchy_of",
    "load_hierarchy",
    "load_images",
]


class CorruptedImages(Protocol):
    """The corruptions of N test images.

    Attributes:
        names: the corruptions.
        identity: plain values that name everything the pictures depend on.
        notes: where they come from.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def first(self, number: int) -> "CorruptedImages":
        """The corruptions of the first ``number`` images."""

    def load(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """The images ``(N, C, H, W)`` under a corruption, at severity 1 to 5 in turn."""


@dataclass(frozen=True)
class ImageSet:
    """Test images and their numbers in the data set.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [0, 1].
        labels: ``(N,)`` int64; ``indices``: ``(N,)`` int64.
        pictures: ``(N,)`` uint64, digests of the pictures and their labels before any transform.
        digest: SHA-256 over pixels, labels and indices.
        notes: conversions that a reader of the results should know about.
        corrupted: their corruptions, for audits of these; None in others.
    """

    name: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    pictures: NDArray[np.uint64]
    digest: str
    notes: tuple[str, ...] = ()
    corrupted: CorruptedImages | None = None


def hierarchy_of(entry: ZooEntry) -> Hierarchy:
    """The classes of an entry's data set and their superclasses.

    Raises:
        NotFoundError: the data set is unknown.
        DataError: the superclasses of a custom data set do not cover its classes.
    """
    if entry.own_data is not None:
        return custom_hierarchy(entry.dataset, entry.own_data)
    if entry.dataset not in CLASSES:
        known = ", ".join(CLASSES)
        raise NotFoundError(f"{entry.model}: no data set named {entry.dataset!r}; expected one of: {known}")
    return load_hierarchy(entry.dataset, CLASSES[entry.dataset])


def has_hierarchy(entry: ZooEntry) -> bool:
    """Whether the classes and superclasses of an entry's data set are known, so that it can be audited."""
    return entry.own_data is not None or entry.dataset in CLASSES


def check_images(
    name: str,
    samples: int | None,
    folder: Path | None = None,
    *,
    custom: CustomData | None = None,
    or_fewer: bool = False,
) -> None:
    """Find a data set's files before any model is loaded; no picture is decoded.

    Arguments and errors as :func:`load_images`, which may still find a picture that cannot be read.
    """
    find_samples(name, samples, folder, custom=custom, or_fewer=or_fewer)


def load_images(
    name: str,
    samples: int | None,
    folder: Path | None = None,
    *,
    custom: CustomData | None = None,
    transform: Transform | None = None,
    channels: int | None = None,
    or_fewer: bool = False,
) -> ImageSet:
    """Load the first ``samples`` test images of a data set in its order; all of them for None.

    The first 1,000 of Fashion-MNIST are the shipped subset, in which the classes alternate, so that any prefix is
    balanced; more than that is the whole test set in its published order. See docs/data.md for the other orders.

    Args:
        name: a known data set, or the name of ``custom``.
        samples: the number of images, at least 1.
        folder: the folder or .npz file with the images; None looks in the data folder, and downloads a known data set.
        custom: the description of a data set that auditor does not know; its path takes precedence over ``folder``.
        transform: how a picture becomes a model's input.
        channels: of the model's input, 1 or 3; None keeps the channels of the pictures.
        or_fewer: use a data set with fewer images whole, with a note.

    Raises:
        TooFewImagesError: the data set has fewer images than that.
        UsageError: the data set is unknown.
        DataError: its files are missing or damaged, its images differ in size, or they have colours that a model of
            one channel would lose.
    """
    found = find_samples(name, samples, folder, custom=custom, or_fewer=or_fewer)
    pixels, notes = found.pixels(transform, channels)
    pixels = np.ascontiguousarray(pixels)
    indices = np.arange(len(found.labels)) if found.indices is None else found.indices
    digest = set_digest(pixels, found.labels, indices)
    images = pixels if pixels.dtype == np.float32 else np.divide(pixels, np.float32(255), dtype=np.float32)
    if samples is not None and len(images) < samples:
        notes = (*notes, f"{name} has fewer than {samples} test images, so that all {len(images)} were used")
    return ImageSet(name, images, found.labels, indices, found.digests(), digest, notes)


def find_samples(
    name: str,
    samples: int | None,
    folder: Path | None = None,
    *,
    custom: CustomData | None = None,
    or_fewer: bool = False,
) -> Samples:
    """The first samples of a data set, before any transform. Arguments and errors as :func:`load_images`."""
    if samples is not None and samples < 1:
        raise UsageError(f"expected at least 1 sample, got {samples}")
    try:
        found = find_known(name, samples, folder) if custom is None else find_custom(name, custom, folder)
    except OSError as error:
        raise DataError(f"cannot find the test images of {name}: {first_line(error)}") from error
    if len(found.labels) == 0:
        raise DataError(f"{name} has no test images")
    if samples is not None and samples > len(found.labels) and not or_fewer:
        raise TooFewImagesError(
            f"{name} has {len(found.labels)} test images, {samples} were requested; "
            f"use `--samples {len(found.labels)}`, or leave the option out to use the whole set"
        )
    return found.first(samples)
