"""The training loop; its state can be saved after each epoch and restored."""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from auditor.boost.losses import step_loss
from auditor.boost.perturbation import perturbed_backward
from auditor.boost.regularizers import linear_regularizer
from auditor.errors import InputError
from auditor.records.boosts import Recipe


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, the mean training loss, and its seconds."""

    number: int
    loss: float
    seconds: float


OnStep = Callable[[int, int, float], None]
"""Called after each step with its number from 1, the number of steps in the epoch, and the loss."""


class Trainer:
    """A run of a recipe on a model, in place. Optimiser and schedule are torch's: SGD and one cycle.

    The same seed, thread count and versions give the same weights on a CPU. Noise, shuffling and augmentation all draw
    from torch's global generator: seed it, and use it for nothing else during the run.

    Args:
        model: ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        images: ``(N, C, H, W)``, float in [0, 1], or uint8, which needs a quarter of the memory.
        labels: ``(N,)`` int64.
        superclasses: K labels, one for each class, used if ``recipe.beta`` is not 0.

    Raises:
        InputError: the recipe is invalid, or there are fewer images than in a batch.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, superclasses: Sequence[Hashable]
    ) -> None:
        recipe.check()
        self.model, self.images, self.labels = model, images, labels
        self.recipe, self.superclasses = recipe, superclasses
        self.batches = len(images) // recipe.batch_size
        if self.batches == 0:
            raise InputError(f"expected at least one batch of {recipe.batch_size} training images, got {len(images)}")
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=recipe.max_lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.max_lr,
            epochs=recipe.epochs,
            steps_per_epoch=self.batches,
            pct_start=0.3,
            cycle_momentum=recipe.momentum > 0,
        )
        averaging = get_ema_multi_avg_fn(recipe.ema) if recipe.ema else None  # type: ignore[no-untyped-call]
        self.average = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True) if averaging else None
        self._augment = _augmentation() if recipe.augment else None
        self.number = 0

    @property
    def averaged_model(self) -> nn.Module:
        """The model to validate and store: the moving average of the weights, if the recipe has one."""
        return self.model if self.average is None else self.average.module

    def epoch(self, on_step: OnStep | None = None) -> Epoch:
        """One pass over the images, in a new order; leaves the model in training mode."""
        started, total = time.perf_counter(), 0.0
        for step, (x, y) in enumerate(self._shuffled_batches(), 1):
            loss = self._step(self._prepare(x), y.to(self.device), step)
            total += loss
            if on_step:
                on_step(step, self.batches, loss)
        self.number += 1
        return Epoch(self.number, total / self.batches, time.perf_counter() - started)

    def state(self) -> dict[str, Any]:
        """Everything that later epochs depend on, as tensors and plain values, for :meth:`restore`."""
        return {
            "number": self.number,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.number = state["number"]
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)

    def _step(self, x: Tensor, y: Tensor, step: int) -> float:
        with self._precision():
            loss = step_loss(self.model, x, y, self.recipe, self.superclasses)
        self.optimizer.zero_grad()
        if self.recipe.awp:
            value = perturbed_backward(self.model, lambda: self._evaluate_loss(loss), self.recipe.awp)
        else:
            value = self._evaluate_loss(loss)
            value.backward()  # type: ignore[no-untyped-call]
        if self.recipe.regularized == "linear" and step % self.recipe.linear_every == 0:
            pull = linear_regularizer(self.model, size_of(x), self.superclasses)
            (self.recipe.beta * self.recipe.linear_every * pull).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return value.item()

    def _evaluate_loss(self, loss: Callable[[], Tensor]) -> Tensor:
        with self._precision():
            return loss()

    def _precision(self) -> AbstractContextManager[Any]:
        mixed = self.recipe.amp and self.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext()

    def _prepare(self, x: Tensor) -> Tensor:
        x = pixels_of(x.to(self.device))
        x = x if self._augment is None else torch.stack([self._augment(image) for image in x])
        return (x + self.recipe.noise * torch.randn_like(x)).clamp(0, 1) if self.recipe.noise else x

    def _shuffled_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Full batches in a new order; the remaining images are left out of this epoch."""
        order, size = torch.randperm(len(self.images)), self.recipe.batch_size
        for chosen in torch.split(order[: self.batches * size], size):
            yield self.images[chosen], self.labels[chosen]


def pixels_of(images: Tensor) -> Tensor:
    """Convert bytes to images in [0, 1]; floats stay unchanged."""
    return images if images.is_floating_point() else images.float() / 255


def size_of(images: Tensor) -> tuple[int, int, int]:
    """``(C, H, W)`` of images ``(N, C, H, W)``."""
    _, channels, height, width = images.shape
    return channels, height, width


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    superclasses: Sequence[Hashable],
    on_epoch: Callable[[Epoch], None] | None = None,
) -> None:
    """Run all epochs of a recipe in place; leaves the model in eval mode. Arguments as :class:`Trainer`."""
    trainer = Trainer(model, images, labels, recipe, superclasses)
    for _ in range(recipe.epochs):
        epoch = trainer.epoch()
        if on_epoch:
            on_epoch(epoch)
    if trainer.average is not None:
        model.load_state_dict(trainer.averaged_model.state_dict())
    model.eval()


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
