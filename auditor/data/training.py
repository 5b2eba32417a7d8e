"""Training data, part of it held out for validation: the same part in every run, and never a test image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from auditor.data import image_folder
from auditor.data.digests import set_digest
from auditor.data.known import DATA_SETS, find_known_training
from auditor.data.place import find_at
from auditor.data.samples import Pixels, Samples
from auditor.errors import DataError, first_line
from auditor.records import OwnData, Transform

HELD_OUT = 0.1
MOST_SHARED = 0.01


@dataclass(frozen=True)
class TrainingData:
    """Images ``(N, C, H, W)``, uint8 or float32 in [0, 1], and labels ``(N,)`` int64, to train on and to validate on.

    ``digest``: SHA-256 over all of it.
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
    own: OwnData | None = None,
    transform: Transform | None = None,
    channels: int | None = None,
    tests: NDArray[np.uint64] | None = None,
) -> TrainingData:
    """The training set of a data set, split once and for all.

    Held out are Fashion-MNIST's last 5,000 images, on which no demo model was trained, and of other sets a tenth of
    each class, drawn with a fixed seed: a checkpoint that is fine-tuned again is validated on what it never trained on.

    Args:
        name: of a data set that auditor knows, or what ``own`` is called.
        folder: where the training images lie, a folder or an .npz file; None looks in the data folder, and downloads
            what it can. A data set of one's own needs it.
        own: the data set itself where it is none of those that auditor knows; its path is that of the test images.
        transform: how a picture becomes a model's input.
        channels: of the model's input, 1 or 3; None takes the pictures' own.
        tests: digests of the test pictures, which must not be among the training pictures.

    Raises:
        UsageError: the data set is unknown.
        DataError: there is no training data, it is damaged, too little to split, or it holds test images.
    """
    try:
        found = _find(name, folder, own)
        if tests is not None:
            _check_apart(name, found, tests)
        pixels = np.ascontiguousarray(found.pixels(transform, channels)[0])
    except OSError as error:
        raise DataError(f"cannot read {name}'s training images: {first_line(error)}") from error
    labels, digest = found.labels, set_digest(pixels, found.labels)
    train, held = _split(name, labels, own)
    return TrainingData(pixels[train], labels[train], pixels[held], labels[held], digest)


def _find(name: str, folder: Path | None, own: OwnData | None) -> Samples:
    if own is None:
        return find_known_training(name, folder)
    if folder is None:
        raise DataError(f"{name} has no training data that auditor knows of: pass --data PATH, a folder or .npz file")
    tests = None if own.path is None else Path(own.path).expanduser()
    if tests is not None and folder.exists() and tests.exists() and folder.samefile(tests):
        raise DataError(f"expected {name}'s training images, got its test images: {folder}")
    classes = own.classes
    return find_at(folder, name, len(classes), lambda place: image_folder.find(place, classes), what="training")


def _check_apart(name: str, found: Samples, tests: NDArray[np.uint64]) -> None:
    """A few pictures may be in both, as they are in published sets."""
    shared = int(np.isin(tests, found.digests()).sum())
    if shared > MOST_SHARED * len(tests):
        raise DataError(
            f"{shared} of {name}'s {len(tests)} test images are among its training images: what is measured "
            "on them would say nothing; pass --data with training images alone"
        )


def _split(name: str, labels: NDArray[np.int64], own: OwnData | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Indices of what is trained on, and of what is held out."""
    last = DATA_SETS[name].held_out if own is None else None
    numbers = np.arange(len(labels))
    if last is not None and len(labels) > 2 * last:
        return numbers[:-last], numbers[-last:]
    try:
        train, held = train_test_split(numbers, test_size=HELD_OUT, random_state=0, stratify=labels)
    except ValueError as error:
        raise DataError(f"{name}'s {len(labels)} training images are too few to hold some out: {error}") from error
    return np.sort(train), np.sort(held)
