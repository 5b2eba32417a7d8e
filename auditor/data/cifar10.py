"""CIFAR-10 (Krizhevsky, 2009): its classes in the order of the labels, and its test set."""

from pathlib import Path

from auditor.data import cifar
from auditor.data.samples import Samples

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find(place: Path | None, samples: int | None) -> Samples:  # noqa: ARG001
    """The 10,000 test images; see :func:`auditor.data.cifar.find`."""
    return cifar.find("CIFAR10", CLASSES, place)


def find_training(place: Path | None) -> Samples:
    """The 50,000 training images; see :func:`auditor.data.cifar.find`."""
    return cifar.find("CIFAR10", CLASSES, place, train=True)
