"""Data sets: images ``(N, C, H, W)`` float32 in [0, 1], labels ``(N,)``, and class hierarchies as data files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.data import fashion_mnist
from auditor.data.hierarchies import Hierarchy, load_hierarchy
from auditor.errors import DataError, UsageError
from auditor.records import OwnData, Transform, ZooEntry

__all__ = ["CLASSES", "Hierarchy", "ImageSet", "check_images", "hierarchy_of", "load_hierarchy", "load_images"]

CLASSES: dict[str, tuple[str, ...]] = {
    "fashion_mnist": fashion_mnist.CLASSES,
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}


@dataclass(frozen=True)
class ImageSet:
    """Test images with their numbers in the data set's own order.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [0, 1].
        labels: ``(N,)`` int64; ``indices``: ``(N,)`` int64.
        digest: SHA-256 over pixels, labels and indices.
    """

    name: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    digest: str


def hierarchy_of(entry: ZooEntry) -> Hierarchy:
    """The classes of an entry's data set and their superclasses."""
    own = entry.own_data
    if own is not None:
        return Hierarchy(entry.dataset, "the zoo's own", own.classes, own.levels, own.headline)
    return load_hierarchy(entry.dataset, CLASSES[entry.dataset])


def check_images(name: str, samples: int | None, folder: Path | None = None, *, own: OwnData | None = None) -> None:
    """Find a data set's files without keeping them, so that what is missing is said before any model is loaded.

    Raises:
        UsageError, DataError: as :func:`load_images` would.
    """
    load_images(name, samples, folder, own=own)


def load_images(
    name: str,
    samples: int | None,
    folder: Path | None = None,
    *,
    own: OwnData | None = None,  # noqa: ARG001
    transform: Transform | None = None,  # noqa: ARG001
) -> ImageSet:
    """The first ``samples`` test images of a data set; all of them for None.

    Fashion-MNIST's first 1,000 are the shipped subset, whose classes take turns, so that any prefix is balanced; more
    than that is the whole test set in its own order.

    Raises:
        UsageError: the data set is unknown, or has fewer images than that.
        DataError: its files are missing or damaged.
    """
    if name not in CLASSES:
        raise UsageError(f"no data set named {name!r}; there is: {', '.join(CLASSES)}")
    if samples is not None and samples < 1:
        raise UsageError(f"expected at least 1 sample, got {samples}")
    if samples is not None and samples <= len(fashion_mnist.CLASSES) * fashion_mnist.DEMO_PER_CLASS:
        pixels, labels, indices = fashion_mnist.load_demo()
    else:
        pixels, labels = fashion_mnist.load_split("test", folder)
        indices = np.arange(len(labels))
    if samples is not None and samples > len(labels):
        raise UsageError(f"{name} has {len(labels)} test images, {samples} were asked for")
    pixels, labels, indices = pixels[:samples], labels[:samples], indices[:samples]
    digest = hashlib.sha256()
    for array in (pixels, labels, indices):
        digest.update(np.ascontiguousarray(array).tobytes())
    images = pixels[:, None].astype(np.float32) / np.float32(255)
    if images.size == 0:
        raise DataError(f"{name} has no test images")
    return ImageSet(name, images, labels, indices, digest.hexdigest())
