"""The source model: the demo zoo's residual network, trained only on source subclasses."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from auditor.adapt.splits import Part
from auditor.boost.training import Epoch, pixels_of, train
from auditor.errors import InputError
from auditor.records.assignments import Assignment
from auditor.records.boosts import Recipe
from auditor.zoo.demo.networks import MEAN, STD, Normalize, SmallResNet


def source_network(dataset: str, classes: int, images: Tensor) -> nn.Module:
    """A small residual network with fresh weights: images ``(N, C, H, W)`` in [0, 1] to logits ``(N, classes)``.

    It normalizes with the mean and standard deviation of the training images; for Fashion-MNIST with the demo zoo's.
    """
    network = SmallResNet(classes)
    channels, width = images.shape[1], network.stem.out_channels
    if channels != network.stem.in_channels:
        network.stem = nn.Conv2d(channels, width, 3, 2, 1, bias=False)
    network.normalize = Normalize(*((MEAN, STD) if dataset == "fashion_mnist" else _moments(images)))
    return network.to(memory_format=torch.channels_last)


def train_source(
    part: Part,
    assignment: Assignment,
    recipe: Recipe,
    seed: int,
    *,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> nn.Module:
    """Train a source model on subclasses; a regularizer clusters the sources of each superclass.

    The same seed, threads and versions give the same weights on a CPU. The model is returned in eval mode.

    Raises:
        InputError: the recipe is invalid, there are too few images for a batch, or training diverged.
    """
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        network = source_network(assignment.dataset, len(assignment.sources), part.images).to(device)
        recipe = dataclasses.replace(recipe, seed=seed)
        train(network, part.images, part.labels, recipe, assignment.source_superclasses, on_epoch)
    if not all(torch.isfinite(weight).all() for weight in network.state_dict().values()):
        raise InputError(f"training the source model diverged: try a lower learning rate than {recipe.max_lr:g}")
    return network


def _moments(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the pixels, of at most 5,000 images."""
    pixels = pixels_of(images[:: max(1, len(images) // 5000)])
    return pixels.mean().item(), max(pixels.std().item(), 1e-6)
