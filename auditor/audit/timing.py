"""The time of passes through a model, and the number of passes of an attack."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks.ascent import approach_gradients
from auditor.attacks.norms import LINF, Norm
from auditor.attacks.protocols import Attack
from auditor.attacks.search import DIVERSE_STEPS

PROBE = 4
"""The number of images in the first batch that is timed."""
SHORT = 0.1
"""Seconds: if the first batch takes less, the call dominates, and a larger batch is timed, too."""


@dataclass(frozen=True)
class Line:
    """The seconds of a pass: per call, and per image in it."""

    call: float
    image: float

    def seconds(self, calls: float, images: float) -> float:
        return calls * self.call + images * self.image


@dataclass
class Work:
    """Counts of passes, with a backward pass (``gradient``) or without (``forward``): calls, and images in them."""

    gradient_calls: float = 0
    gradients: float = 0
    forward_calls: float = 0
    forwards: float = 0

    def __sub__(self, other: "Work") -> "Work":
        return Work(self.gradient_calls - other.gradient_calls, self.gradients - other.gradients,
                    self.forward_calls - other.forward_calls, self.forwards - other.forwards)  # fmt: skip

    def times(self, batches: float, images: float) -> "Work":
        return Work(self.gradient_calls * batches, self.gradients * images, self.forward_calls * batches,
                    self.forwards * images)  # fmt: skip


class TooLongError(Exception):
    """The trial of the attacks takes too long and is stopped."""


class Counted(nn.Module):
    """A model that counts its passes, and raises TooLongError after this many seconds."""

    def __init__(self, model: nn.Module, seconds: float) -> None:
        super().__init__()
        self.model, self.work, self.until = model, Work(), time.perf_counter() + seconds

    def forward(self, images: Tensor) -> Tensor:
        if time.perf_counter() > self.until:
            raise TooLongError
        if images.requires_grad:
            self.work.gradient_calls += 1
            self.work.gradients += len(images)
        else:
            self.work.forward_calls += 1
            self.work.forwards += len(images)
        logits: Tensor = self.model(images)
        return logits


def line_of(function: Callable[[nn.Module, Tensor], None], model: nn.Module, images: Tensor, largest: int) -> Line:
    """The time per call and image, from a small batch and, if that takes less than ``SHORT``, a larger one."""
    small = images[torch.arange(PROBE) % len(images)]
    function(model, small)  # a first pass takes longer
    few = seconds_of(lambda: function(model, small))
    if few >= SHORT or largest <= PROBE:
        return Line(0.0, few / PROBE)
    large = images[torch.arange(largest) % len(images)]
    image = max(0.0, seconds_of(lambda: function(model, large)) - few) / (largest - PROBE)
    return Line(max(0.0, few - PROBE * image), image)


def passes(attacks: tuple[Attack, ...], *, norm: Norm = LINF, around: bool = True) -> tuple[int, int]:
    """At most this many passes per image: with a backward pass, and without.

    ``norm``: in which a search runs; ``around``: count the passes outside the attacks, too.
    """
    gradients, forwards = (1, 7) if around else (0, 0)  # for flags and clean accuracy
    for attack in attacks:
        settings = attack.parameters
        if attack.engine == "search":
            gradients += _search_passes(settings, norm)
            forwards += 1  # to rank the targets
        elif attack.engine == "gradient":
            gradients += settings["steps"] * (2 if attack.name == "pgd-20" else 1)  # again on what FGSM broke
        elif "queries" in settings:
            forwards += settings["queries"] * settings["restarts"]
        else:
            repeats = settings["restarts"] * settings.get("targets", 1) * settings.get("eot", 1)
            gradients += (settings["iterations"] + 2) * repeats  # at the start and the end
            forwards += (
                settings["iterations"] * repeats if attack.name.startswith("fab") else 0
            )  # is the point beyond the boundary?
        forwards += 2  # by the model and by the attacked copy
    return gradients, forwards


def _search_passes(settings: dict[str, Any], norm: Norm) -> int:
    """Gradients of a search on a sample that it does not break, and that lacks as little to each target as can be."""
    approach = approach_gradients(norm)
    ascent = approach + settings["iterations"] + 1  # one more measures the lack
    rounds, targets = sum(number for _, number in settings["rounds"]), settings["targets"]
    explored = targets * (approach + settings["explore_iterations"] + 2)
    return int(ascent + explored + rounds * (1 + min(settings["pairs"], targets)) * (ascent + DIVERSE_STEPS))


def forward_pass(model: nn.Module, batch: Tensor) -> None:
    with torch.no_grad():
        model(batch.clone())


def gradient_pass(model: nn.Module, batch: Tensor) -> None:
    pixels = batch.clone().requires_grad_()
    logits = model(pixels.clone())
    if logits.requires_grad:
        torch.autograd.grad(logits.sum(), pixels, allow_unused=True)


def seconds_of(function: Callable[[], object]) -> float:
    """The faster of two runs."""
    return min(seconds_once(function), seconds_once(function))


def seconds_once(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
