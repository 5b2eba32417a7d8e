"""The images of a reproduction: one training set, validation images, and two disjoint halves of test images."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from auditor.adapt.splits import AdaptData, Part, load_data, source_training
from auditor.boost.training import pixels_of
from auditor.data import CLASSES, ImageSet, load_hierarchy, load_images
from auditor.data.digests import set_digest
from auditor.data.training import load_training
from auditor.errors import UsageError
from auditor.records.assignments import CIFAR100, FASHION_MNIST, Assignment
from auditor.reproduce.records import ADAPTATION_DATA, Settings
from auditor.reproduce.training import TrainingSet

_ASSIGNMENTS = {"fashion_mnist": FASHION_MNIST, "cifar100": CIFAR100}


@dataclass(frozen=True)
class Labelled:
    """Images ``(N, C, H, W)`` in [0, 1], labels ``(N,)``, the numbers of the images, and a digest of all."""

    images: Tensor
    labels: Tensor
    numbers: Tensor
    digest: str

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, numbers: Tensor) -> "Labelled":
        return cls(pixels_of(images), labels, numbers, set_digest(images.numpy(), labels.numpy(), numbers.numpy()))


class ReproductionData:
    """Loads what an experiment asks for, once.

    Raises:
        DataError: the data set is not on this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[self.settings.dataset]

    @cached_property
    def superclasses(self) -> tuple[str, ...]:
        return load_hierarchy(self.settings.dataset, self.classes).superclasses

    @cached_property
    def training(self) -> TrainingSet:
        """The first images of the training set, see ``Settings.images``."""
        return self._loaded[0]

    @cached_property
    def validation(self) -> Labelled:
        """As many validation images as test images; no network is trained on them."""
        return self._loaded[1]

    @cached_property
    def _loaded(self) -> tuple[TrainingSet, Labelled]:
        settings = self.settings
        found = load_training(settings.dataset, settings.data, tests=self._tests.pictures)
        images = torch.from_numpy(found.images[: settings.images])
        labels = torch.from_numpy(found.labels[: settings.images])
        count = min(settings.test_images, len(found.held_labels))
        held, held_labels = (torch.from_numpy(part[:count]) for part in (found.held_images, found.held_labels))
        training = TrainingSet(
            images=images,
            labels=labels,
            superclasses=self.superclasses,
            digest=set_digest(images.numpy(), labels.numpy()),
        )
        return training, Labelled.of(held, held_labels, torch.arange(count))

    @cached_property
    def tests(self) -> tuple[Labelled, Labelled]:
        """Test images, and as many others that decide nothing."""
        found = self._tests
        parts = (torch.from_numpy(part) for part in (found.images, found.labels, found.indices))
        images, labels, numbers = parts
        half = self.settings.test_images
        return (
            Labelled.of(images[:half], labels[:half], numbers[:half]),
            Labelled.of(images[half:], labels[half:], numbers[half:]),
        )

    @cached_property
    def _tests(self) -> ImageSet:
        name, count = self.settings.dataset, 2 * self.settings.test_images
        try:
            return load_images(name, count, self.settings.data)
        except UsageError as error:
            raise UsageError(
                f"expected {count} test images of {name}, twice --test-images, got fewer: choose a smaller number"
            ) from error

    @property
    def test(self) -> Labelled:
        return self.tests[0]

    @cached_property
    def assignment(self) -> Assignment:
        """The superclasses, sources and targets of the experiments on domain adaptation.

        Raises:
            UsageError: there is none for this data set.
        """
        name = ADAPTATION_DATA.get(self.settings.dataset)
        if name is None:
            raise UsageError(
                f"no source and target classes are known for {self.settings.dataset}; "
                f"expected one of: {', '.join(ADAPTATION_DATA)}"
            )
        return _ASSIGNMENTS[name].resolved(CLASSES[name])

    @cached_property
    def adaptation(self) -> AdaptData:
        return load_data(self.assignment.dataset, self.settings.data)

    @cached_property
    def sources(self) -> TrainingSet:
        """Training images of the source classes; labels number the source classes."""
        part: Part = source_training(self.adaptation, self.assignment, self.settings.images)
        digest = set_digest(part.images.numpy(), part.labels.numpy())
        return TrainingSet(
            images=part.images, labels=part.labels, superclasses=self.assignment.source_superclasses, digest=digest
        )
