"""The data sets that auditor knows: a new one is one more row."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.data import cifar10, cifar100, fashion_mnist, imagenet
from auditor.data.place import find_at
from auditor.data.samples import Samples
from auditor.errors import NotFoundError


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        classes: K names in the order of the labels.
        find: its test set in a folder; for None, in the data folder, downloaded where that can be. It may stop at the
            number of samples that is wanted, and raises DataError where there is nothing to be found.
        find_training: its training set, likewise.
        held_out: how many images at its end are for validation; None draws them.
    """

    classes: tuple[str, ...]
    find: Callable[[Path | None, int | None], Samples]
    find_training: Callable[[Path | None], Samples]
    held_out: int | None = None


DATA_SETS = {
    "fashion_mnist": DataSet(fashion_mnist.CLASSES, fashion_mnist.find, fashion_mnist.find_training, held_out=5_000),
    "cifar10": DataSet(cifar10.CLASSES, cifar10.find, cifar10.find_training),
    "cifar100": DataSet(cifar100.CLASSES, cifar100.find, cifar100.find_training),
    "imagenet": DataSet(imagenet.CLASSES, imagenet.find, imagenet.find_training),
}
CLASSES: dict[str, tuple[str, ...]] = {name: data_set.classes for name, data_set in DATA_SETS.items()}


def find_known(name: str, samples: int | None, place: Path | None) -> Samples:
    """The test set of a known data set: from an .npz file, a folder, or for None wherever it may be had.

    Raises:
        NotFoundError: the data set is unknown.
        DataError: it is not there.
    """
    data_set = _known(name)
    if place is None:
        return data_set.find(None, samples)
    return find_at(place, name, len(data_set.classes), lambda folder: data_set.find(folder, samples))


def find_known_training(name: str, place: Path | None) -> Samples:
    """The training set of a known data set; arguments and errors as :func:`find_known`."""
    data_set = _known(name)
    if place is None:
        return data_set.find_training(None)
    return find_at(place, name, len(data_set.classes), data_set.find_training, what="training")


def _known(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise NotFoundError(f"no data set named {name!r}; there is: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
