"""The known data sets; a new one is one more row of ``DATA_SETS``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.data import cifar10, cifar100, fashion_mnist, imagenet, stl10, svhn, tiny_imagenet
from auditor.data.locations import find_at
from auditor.data.samples import Samples
from auditor.errors import NotFoundError


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        classes: K names in the order of the labels.
        find: finds its test set in a folder; None stands for the data folder, or a download. It may stop at the
            requested number of samples, and raises DataError if it finds nothing.
        find_training: the same for its training set.
        held_out: the number of images at its end that are for validation; None draws a tenth of each class.
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
    "svhn": DataSet(svhn.CLASSES, svhn.find, svhn.find_training),
    "stl10": DataSet(stl10.CLASSES, stl10.find, stl10.find_training),
    "tiny_imagenet": DataSet(tiny_imagenet.CLASSES, tiny_imagenet.find, tiny_imagenet.find_training),
}
CLASSES: dict[str, tuple[str, ...]] = {name: data_set.classes for name, data_set in DATA_SETS.items()}


def find_known(name: str, samples: int | None, place: Path | None) -> Samples:
    """The test set of a known data set: from an .npz file, a folder, or for None from its default location.

    Raises:
        NotFoundError: the data set is unknown.
        DataError: the images are not found.
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
        raise NotFoundError(f"no data set named {name!r}; expected one of: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
