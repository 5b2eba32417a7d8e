"""Training data, part of which is held out for validation: the same part in every run, and never a test image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from auditor.data import image_folder
from auditor.data.digests import set_digest
from auditor.data.known import DATA_SETS, find_known_training
from auditor.data.locations import find_at
from auditor.data.samples import Pixels, Samples
from auditor.errors import DataError, first_line
from auditor.records import CustomData, Transform

HELD_OUT = 0.1
MOST_SHARED = 0.01


@dataclass(frozen=True)
class TrainingData:
    """Images ``(N, C, H, W)``, uint8 or float32 in [0, 1], and labels ``(N,)`` int64, for training and for validation.

    ``digest``: SHA-256 over all of them.
    """

    images: Pixels
    labels: NDArray[np.int64]
    held_images: Pixels
    held_labels: NDArray[np.int64]
    digest: str


def load_training(
    name: str,
    folder: Path | None = None,
    *,
    custom: CustomData | None = None,
    transform: Transform | None = None,
    channels: int | None = None,
    tests: NDArray[np.uint64] | None = None,
) -> TrainingData:
    """Load the training set of a data set, with a fixed split into training and validation images.

    Of Fashion-MNIST the last 5,000 images are held out, on which no demo model was trained; of other data sets a tenth
    of each class, drawn with a fixed seed. A checkpoint that is fine-tuned again is validated on unseen images, too.

    Args:
        name: a known data set, or the name of ``custom``.
        folder: the folder or .npz file with the training images; None looks in the data folder, and downloads a known
            data set. A custom data set needs it.
        custom: the description of a data set that auditor does not know; its path is that of the test images.
        transform: how a picture becomes a model's input.
        channels: of the model's input, 1 or 3; None keeps the channels of the pictures.
        tests: digests of the test pictures, which must not be among the training pictures.

    Raises:
        UsageError: the data set is unknown.
        DataError: there is no training data, or it is damaged, too small to split, or holds test images.
    """
    try:
        found = _find(name, folder, custom)
        if tests is not None:
            _check_disjoint(name, found, tests)
        pixels = np.ascontiguousarray(found.pixels(transform, channels)[0])
    except OSError as error:
        raise DataError(f"cannot read {name}'s training images: {first_line(error)}") from error
    labels, digest = found.labels, set_digest(pixels, found.labels)
    train, held = _split(name, labels, custom)
    return TrainingData(pixels[train], labels[train], pixels[held], labels[held], digest)


def _find(name: str, folder: Path | None, custom: CustomData | None) -> Samples:
    if custom is None:
        return find_known_training(name, folder)
    if folder is None:
        raise DataError(
            f"the training images of {name} have no default location: pass --data PATH, a folder or .npz file"
        )
    tests = None if custom.path is None else Path(custom.path).expanduser()
    if tests is not None and folder.exists() and tests.exists() and folder.samefile(tests):
        raise DataError(f"expected {name}'s training images, got its test images: {folder}")
    classes = custom.classes
    return find_at(folder, name, len(classes), lambda place: image_folder.find(place, classes), what="training")


def _check_disjoint(name: str, found: Samples, tests: NDArray[np.uint64]) -> None:
    """Refuse test images among the training images, except for a few duplicates, as in published data sets."""
    shared = int(np.isin(tests, found.digests()).sum())
    if shared > MOST_SHARED * len(tests):
        raise DataError(
            f"{shared} of {name}'s {len(tests)} test images are among its training images, so "
            "measurements on them would be meaningless: pass --data with training images only"
        )


def _split(name: str, labels: NDArray[np.int64], custom: CustomData | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Indices of the training images and of the held-out images."""
    last = DATA_SETS[name].held_out if custom is None else None
    numbers = np.arange(len(labels))
    if last is not None and len(labels) > 2 * last:
        return numbers[:-last], numbers[-last:]
    try:
        train, held = train_test_split(numbers, test_size=HELD_OUT, random_state=0, stratify=labels)
    except ValueError as error:
        raise DataError(f"{name}'s {len(labels)} training images are too few to hold some out: {error}") from error
    return np.sort(train), np.sort(held)
