"""The images of an adaptation: source training images, few target images, and held-out test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.data import CLASSES, load_images
from auditor.data.training import load_training
from auditor.errors import DataError, InputError, UsageError
from auditor.records import CustomData, Transform
from auditor.records.assignments import Assignment

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class AdaptData:
    """A data set's training and test images ``(N, C, H, W)``, uint8 or in [0, 1], with their labels ``(N,)``.

    ``classes`` are the names of the labels, ``test_numbers`` the numbers of the test images in the data set, and
    ``digests`` those of the training and the test data.
    """

    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    test_numbers: Tensor
    digests: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Part:
    """Images ``(N, C, H, W)``, labels ``(N,)`` int64 of the prediction task, and the numbers of the images ``(N,)``."""

    images: Tensor
    labels: Tensor
    numbers: Tensor


def load_data(
    dataset: str,
    folder: Path | None = None,
    *,
    custom: CustomData | None = None,
    transform: Transform | None = None,
    channels: int | None = None,
) -> AdaptData:
    """Load training and test images of a data set; arguments and errors as ``load_training`` and ``load_images``."""
    if custom is None and dataset not in CLASSES:
        raise UsageError(f"no data set named {dataset!r}; expected one of: {', '.join(CLASSES)}")
    if custom is not None and custom.path is None:
        raise DataError(
            f"the test images of {dataset} have no location: describe the model in a local zoo, with the path of the "
            "test images in zoo.toml; --data is that of the training images"
        )
    test = load_images(
        dataset, None, folder if custom is None else None, custom=custom, transform=transform, channels=channels
    )
    training = load_training(
        dataset, folder, custom=custom, transform=transform, channels=channels, tests=test.pictures
    )
    return AdaptData(
        CLASSES[dataset] if custom is None else custom.classes,
        torch.from_numpy(training.images),
        torch.from_numpy(training.labels),
        torch.from_numpy(test.images),
        torch.from_numpy(test.labels),
        torch.from_numpy(test.indices),
        (training.digest, test.digest),
    )


def source_training(data: AdaptData, assignment: Assignment, most: int | None) -> Part:
    """Training images of the source classes, the first of each in equal shares; labels number the source classes.

    Raises:
        InputError: a class has no image.
    """
    share = None if most is None else most // len(assignment.sources)
    return _of_classes(data.images, data.labels, data.classes, assignment.sources, share)


def few_targets(data: AdaptData, assignment: Assignment, shots: int, seed: int) -> Part:
    """``shots`` training images of each target class, drawn by the seed; labels number the superclasses.

    The images for more shots include those for fewer shots.

    Raises:
        InputError: a target class has fewer images than shots.
    """
    chosen, labels = [], []
    for number, group in enumerate(assignment.superclasses):
        for name in group.targets:
            k = data.classes.index(name)
            members = np.flatnonzero(data.labels.numpy() == k)
            if len(members) < shots:
                raise InputError(f"expected at least {shots} training images of the target {name}, got {len(members)}")
            chosen.append(np.random.default_rng([seed, k]).permutation(members)[:shots])
            labels += [number] * shots
    indices = torch.from_numpy(np.concatenate(chosen))
    return Part(data.images[indices], torch.tensor(labels, dtype=torch.int64), indices)


def held_out_sources(data: AdaptData, assignment: Assignment, most: int) -> Part:
    """Test images of the source classes in equal shares; labels number the source classes."""
    share = most // len(assignment.sources)
    part = _of_classes(data.test_images, data.test_labels, data.classes, assignment.sources, share)
    return Part(part.images, part.labels, data.test_numbers[part.numbers])


def held_out_targets(data: AdaptData, assignment: Assignment, most: int) -> Part:
    """Test images of the target classes; labels count the superclasses, of which each has the same share.

    So random guessing has accuracy 1 / M for any number of targets. If a class has too few images for its share, the
    shares of all superclasses are reduced.

    Raises:
        InputError: a class has no image.
    """
    counts = {name: _count(data.test_labels, data.classes.index(name)) for name in assignment.targets}
    share = most // len(assignment.superclasses)
    for group in assignment.superclasses:
        share = min(share, min(counts[name] for name in group.targets) * len(group.targets))
    parts = []
    for number, group in enumerate(assignment.superclasses):
        each = max(share // len(group.targets), 1)
        part = _of_classes(data.test_images, data.test_labels, data.classes, group.targets, each)
        parts.append(Part(part.images, torch.full_like(part.labels, number), data.test_numbers[part.numbers]))
    return Part(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.numbers for part in parts]),
    )


def _of_classes(
    images: Tensor, labels: Tensor, classes: Sequence[str], names: Sequence[str], share: int | None
) -> Part:
    """The first ``share`` images of each class, one class after the other; labels number the ``names``."""
    chosen = [torch.nonzero(labels == classes.index(name)).flatten()[:share] for name in names]
    for name, found in zip(names, chosen, strict=True):
        if len(found) == 0:
            raise InputError(f"expected images of {name}, got none")
    indices = torch.cat(chosen)
    counted = torch.cat([torch.full((len(found),), number) for number, found in enumerate(chosen)])
    return Part(images[indices], counted, indices)


def _count(labels: Tensor, k: int) -> int:
    return int((labels == k).sum())
