"""A tiny data set: eight classes in two superclasses, bright in the upper or in the lower half, each with a stripe."""

import torch
from torch import nn

from auditor.adapt.splits import AdaptData
from auditor.records.assignments import Assignment, Superclass

CLASSES = ("a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
ASSIGNMENT = Assignment(
    dataset="tiny",
    superclasses=(
        Superclass(name="upper", sources=("a3", "a1"), targets=("a2", "a4")),
        Superclass(name="lower", sources=("b1", "b4"), targets=("b2",)),
    ),
)


def tiny(per_class: int = 24, seed: int = 0) -> AdaptData:
    """Images ``(N, 1, 8, 8)``: bytes for training, floats for tests; test numbers are not their places."""
    generator = torch.Generator().manual_seed(seed)

    def images(labels: torch.Tensor) -> torch.Tensor:
        found = 0.3 * torch.rand(len(labels), 1, 8, 8, generator=generator)
        for image, label in zip(found, labels.tolist(), strict=True):
            image[:, label // 4 * 4 : label // 4 * 4 + 4] += 0.3
            image[:, :, label % 4 * 2] += 0.3
        return found

    labels = torch.arange(8 * per_class) % 8
    test_labels = torch.arange(8 * 10) % 8
    return AdaptData(
        CLASSES,
        (images(labels) * 255).round().byte(),
        labels,
        images(test_labels),
        test_labels,
        1000 + torch.arange(len(test_labels)),
        ("train", "test"),
    )


def network(classes: int = 8, seed: int = 0) -> nn.Module:
    """A convolutional network with batch norm that ends with a linear layer, in eval mode."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, classes)
    ).eval()
