"""A tiny network, its data and a short recipe."""

import torch
from torch import nn

from auditor.records.boosts import Recipe

RECIPE = Recipe(method="at", eps=0.1, steps=2, step_size=0.1, epochs=4, batch_size=32, max_lr=0.05, beta=0.1, ema=0.8)


def halves() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    images, labels = data()
    return (images[:192], labels[:192]), (images[192:], labels[192:])


SUPERCLASSES = ("a", "a", "b", "b")


def data(n: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes, each a bright stripe of the image: the same when flipped."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    images = 0.3 * torch.rand(n, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.5
    return images, labels


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
