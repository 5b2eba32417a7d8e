"""The training loop: standard, adversarial (PGD-AT) and TRADES, each with or without the clustering regularizer."""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.boost.regularizers import cluster_regularizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run does, besides the network and the data.

    ``eps`` is an Linf radius in [0, 1]; ``beta`` weighs the clustering regularizer; ``trades_lambda`` weighs
    TRADES's robust term; ``noise`` is the standard deviation of Gaussian noise added to the pixels; the
    cross-entropy is taken of ``logits / temperature``; ``max_lr`` is the peak of the one-cycle schedule.
    """

    method: Literal["standard", "at", "trades"] = "standard"
    eps: float = 0.0
    steps: int = 0
    step_size: float = 0.0
    random_start: bool = True
    beta: float = 0.0
    trades_lambda: float = 6.0
    noise: float = 0.0
    augment: bool = False
    temperature: float = 1.0
    epochs: int = 10
    batch_size: int = 128
    max_lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one epoch ended with: its number from 1, the mean training loss, and the seconds it took."""

    number: int
    loss: float
    seconds: float


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    superclasses: Sequence[Hashable],
    on_epoch: Callable[[Epoch], None] | None = None,
) -> None:
    """Train ``model`` in place; leaves it in eval mode.

    The same seed, thread count and versions give the same weights on a CPU. Noise, shuffling and augmentation
    all draw from torch's global generator: seed it, and keep it to this loop, as ``build`` does.

    Args:
        images: ``(N, C, H, W)`` float in [0, 1].
        labels: ``(N,)`` int64.
        superclasses: K labels, one a class, used where ``recipe.beta`` is not 0.
    """
    batches = len(images) // recipe.batch_size
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.max_lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.max_lr, epochs=recipe.epochs, steps_per_epoch=batches, pct_start=0.3
    )
    augment = _augmentation() if recipe.augment else None
    for number in range(1, recipe.epochs + 1):
        started, total = time.perf_counter(), 0.0
        for x, y in _shuffled(images, labels, recipe.batch_size):
            x = x if augment is None else torch.stack([augment(image) for image in x])
            if recipe.noise:
                x = (x + recipe.noise * torch.randn_like(x)).clamp(0, 1)
            loss = _loss(model, x, y, recipe, superclasses)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        if on_epoch:
            on_epoch(Epoch(number, total / batches, time.perf_counter() - started))
    model.eval()


def _shuffled(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches in a new order; the remainder is left for another epoch."""
    order = torch.randperm(len(images))
    for chosen in torch.split(order[: len(order) - len(order) % size], size):
        yield images[chosen], labels[chosen]


def _loss(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, superclasses: Sequence[Hashable]) -> Tensor:
    """``L_adv(f(x_adv), y) + beta L_cluster``, the regularizer on the logits that the loss is taken of."""
    if recipe.method == "trades":
        return _trades(model, x, y, recipe, superclasses)
    if recipe.method == "at":
        x = _attack(model, x, cross_entropy(y), recipe, _uniform_start(x, recipe))
    model.train()
    logits = model(x)
    loss = F.cross_entropy(logits / recipe.temperature, y)
    return loss + recipe.beta * cluster_regularizer(logits, superclasses) if recipe.beta else loss


def _trades(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, superclasses: Sequence[Hashable]) -> Tensor:
    """TRADES (Zhang et al., 2019): clean cross-entropy plus lambda times the KL divergence to the attacked point."""
    with torch.no_grad():
        target = model.eval()(x).softmax(1)
    start = 0.001 * torch.randn_like(x)
    attacked = _attack(model, x, lambda z: _divergence(z, target).sum(1), recipe, start)
    model.train()
    clean, adversarial = model(x), model(attacked)
    loss = F.cross_entropy(clean, y)
    loss = loss + recipe.trades_lambda * _divergence(adversarial, clean.softmax(1)).sum(1).mean()
    return loss + recipe.beta * cluster_regularizer(adversarial, superclasses) if recipe.beta else loss


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(logits.log_softmax(1), target, reduction="none")


def _uniform_start(x: Tensor, recipe: Recipe) -> Tensor | None:
    return torch.empty_like(x).uniform_(-recipe.eps, recipe.eps) if recipe.random_start else None


def _attack(
    model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], recipe: Recipe, start: Tensor | None
) -> Tensor:
    with frozen(model):
        return pgd(
            model,
            x,
            loss,
            norm="Linf",
            eps=recipe.eps,
            steps=recipe.steps,
            step_size=recipe.step_size,
            start=start,
        )


def _augmentation() -> Callable[[Tensor], Tensor]:
    """Heavy augmentation of one image: flips, affine maps, contrast and erasing, from torchvision."""
    from torchvision.transforms import v2

    augment: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=8),
            v2.ColorJitter(brightness=0.3, contrast=0.3),
            v2.RandomErasing(p=0.5, scale=(0.02, 0.25)),
        ]
    )
    return augment
