"""The search of protocol ``strong``: short ascents, and restarts of those that nearly broke their sample.

What decides is the **lack** of a sample: the share of eps that it lacks to the boundary, to first order, at the best
point of an ascent. It is the margin there, over eps times the dual norm of the margin's gradient. It has no unit, and
depends on nothing but the sample and the seed. A sample that lacks half of eps is hopeless, one that lacks a
hundredth is worth thirty restarts. The lack is also measured towards each target class, because the class that is
nearest at first is not always the one that breaks the sample.

In L2 an ascent first runs in wider balls, which shrink to the one of the budget: near the clean image the gradient of
many networks says little (:attr:`auditor.attacks.norms.Norm.radii`).

The ideas are those of MALT (targets by margin over gradient norm), PMA (the margin of probabilities) and A3 (diverse
starts; hopeless samples are left out); the schedule and the code are auditor's own.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auditor.attacks.ascent import approach, ascend
from auditor.attacks.gradient import Loss, cross_entropy, input_gradient, margin
from auditor.attacks.losses import dlr_towards, in_direction, probability_margin, towards
from auditor.attacks.norms import Norm, Radius, generators
from auditor.attacks.targeted import choose_targets

DIVERSE_STEPS = 2
"""Steps of size eps in a random direction of logits, before an ascent with a diverse start."""
TOGETHER = 8
"""So many rounds run in one pass, because passes of few images are slow; what they break leaves the later ones."""
UNTARGETED: tuple[Callable[[Tensor], Loss], ...] = (cross_entropy, probability_margin, margin)
TARGETED: tuple[Callable[[Tensor, Tensor], Loss], ...] = (dlr_towards, towards)
"""The losses take turns from round to round; every second round of each has a diverse start."""


@dataclass(frozen=True)
class Rows:
    """Ascents with one loss and one kind of start: ``(M,)`` positions of samples, and the target of each or None."""

    samples: Tensor
    targets: Tensor | None
    make: Callable[..., Loss]
    name: str
    diverse: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def choose(self, chosen: Tensor | slice) -> "Rows":
        targets = None if self.targets is None else self.targets[chosen]
        return replace(self, samples=self.samples[chosen], targets=targets)

    def loss(self, labels: Tensor) -> Loss:
        return self.make(labels) if self.targets is None else self.make(self.targets, labels)

    def away(self, labels: Tensor) -> Loss:
        """The margin to the boundary that the lack is measured to."""
        return margin(labels) if self.targets is None else towards(self.targets, labels)


class Search:
    """The search on one batch.

    Args:
        network: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        numbers: ``(N,)`` on the CPU; random starts are drawn by these.
        norm, eps: the budget.
        seed: the seed for every random draw.
        together: keep all samples of a pass until it ends, because the model's logits may depend on the batch.
        mixed: the network in mixed precision, which then takes the ascents' gradients; ``network`` still decides what
            is broken, and measures the lack.

    Attributes:
        found: ``(N, C, H, W)``: a misclassified point of each broken sample, else the clean image.
        broken: ``(N,)`` bool.
        lack: ``(N,)`` float64, the smallest of any ascent. It is 0 where a gradient is 0, because then nothing says
            that the boundary is far, and infinite until it is measured.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        numbers: Tensor,
        *,
        norm: Norm,
        eps: float,
        seed: int,
        together: bool,
        mixed: nn.Module | None = None,
    ) -> None:
        self.climbing: nn.Module = network if mixed is None else mixed
        self.confirm: nn.Module | None = None if mixed is None else network
        self.network, self.images, self.labels, self.numbers = network, images, labels, numbers
        self.norm, self.eps, self.seed, self.together = norm, eps, seed, together
        self.found = images.clone()
        self.broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.lack = torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)

    def run(self, settings: dict[str, Any]) -> None:
        """First one ascent on every sample; then one towards each target; then rounds on what still lacks little.

        Args:
            settings: ``iterations`` of an ascent; ``targets``, the largest number of targets; ``explore``, the lack up
                to which a sample's targets are tried, with ``explore_iterations`` each; and ``rounds``, pairs of a lack
                and the number of rounds on the samples, and on the pairs of sample and target, that lack less; with
                ``pairs``, the largest number of targets of a sample in a round.
        """
        iterations = settings["iterations"]
        self._attack([Rows(self._nearer_than(torch.inf), None, margin, "first")], iterations)
        near = self._nearer_than(settings["explore"])
        if not len(near):
            return
        ranked = rank_targets(self.network, self.images[near], self.labels[near], self.norm, settings["targets"])
        explored = [Rows(near, targets, towards, f"t-{rank}") for rank, targets in enumerate(ranked.unbind(1))]
        lacks = torch.stack(self._attack(explored, settings["explore_iterations"]), 1)
        number = 0
        for limit, rounds in settings["rounds"]:
            for first in range(number, number + rounds, TOGETHER):
                turns = range(first, min(first + TOGETHER, number + rounds))
                samples = self._nearer_than(limit)
                rows, ranks = (is_nearest(lacks, limit, settings["pairs"]) & ~self.broken[near, None]).nonzero(
                    as_tuple=True
                )
                pairs = near[rows], ranked[rows, ranks]
                found = self._attack([part for turn in turns for part in _round(turn, samples, *pairs)], iterations)
                lacks[rows, ranks] = torch.stack([lacks[rows, ranks], *found[1::2]]).amin(0)
            number += rounds

    def _nearer_than(self, limit: float) -> Tensor:
        """Positions of the unbroken samples that lack less than this, or anything if the limit is infinite."""
        near = (self.lack < limit) | torch.tensor(limit == torch.inf, device=self.lack.device)
        return (near & ~self.broken).nonzero().flatten()

    def _attack(self, groups: list[Rows], iterations: int) -> list[Tensor]:
        """Attack all groups in parts of at most N rows; of each group ``(M,)`` float64, what its rows lack.

        Rows of a sample that an earlier part has broken are left out; they lack nothing.
        """
        lacks = [self.lack.new_zeros(len(rows)) for rows in groups]
        waiting = [(index, 0) for index in range(len(groups))]
        while waiting:
            part, room = [], len(self.images)
            while waiting and room:
                index, done = waiting.pop(0)
                chosen = torch.arange(done, min(done + room, len(groups[index])), device=self.lack.device)
                if done + room < len(groups[index]):
                    waiting.insert(0, (index, done + room))
                chosen = chosen[~self.broken[groups[index].samples[chosen]]]
                room -= len(chosen)
                if len(chosen):
                    part.append((index, chosen))
            if part:
                found = self._attack_part([groups[index].choose(chosen) for index, chosen in part], iterations)
                for (index, chosen), lack in zip(part, found, strict=True):
                    lacks[index][chosen] = lack
        return lacks

    def _attack_part(self, groups: list[Rows], iterations: int) -> list[Tensor]:
        samples, sizes = torch.cat([rows.samples for rows in groups]), [len(rows) for rows in groups]
        images, labels = self.images[samples], self.labels[samples]
        ascend_here = functools.partial(
            ascend,
            self.climbing,
            images,
            labels,
            lambda chosen: self._loss(groups, chosen, Rows.loss),
            norm=self.norm,
            together=self.together,
        )
        start = torch.cat([self._start(rows) for rows in groups])
        start = approach(ascend_here, images, start, norm=self.norm, eps=self.eps)
        end = ascend_here(eps=self.eps, iterations=iterations, start=start, confirm=self.confirm)
        for row in end.broken.nonzero().flatten().flip(0).tolist():  # of several rows of a sample the first counts
            self.found[samples[row]] = end.points[row]
        self.broken[samples[end.broken]] = True
        lack = self.lack.new_zeros(len(images))
        rest = (~end.broken).nonzero().flatten()
        if len(rest):
            away = self._loss(groups, rest, Rows.away)
            lack[rest] = measure_lack(self.network, end.points[rest], away, self.norm, self.eps)
        self.lack = self.lack.scatter_reduce(0, samples, lack, "amin")
        return list(torch.split(lack, sizes))

    def _loss(self, groups: list[Rows], chosen: Tensor, make: Callable[[Rows, Tensor], Loss]) -> Loss:
        """The loss of the chosen rows, ascending positions in all groups together: each group has its own loss."""
        ends = torch.tensor([len(rows) for rows in groups]).cumsum(0)
        cuts = [0, *torch.searchsorted(chosen.cpu(), ends).tolist()]
        losses, sizes = [], []
        for rows, end, (low, high) in zip(groups, ends.tolist(), pairwise(cuts), strict=True):
            if high > low:
                part = rows.choose(chosen[low:high] - (end - len(rows)))
                losses.append(make(part, self.labels[part.samples]))
                sizes.append(high - low)

        def loss(logits: Tensor) -> Tensor:
            parts = zip(losses, torch.split(logits, sizes), strict=True)
            return torch.cat([one(part) for one, part in parts])

        return losses[0] if len(losses) == 1 else loss

    def _start(self, rows: Rows) -> Tensor:
        """Random points of the widest ball; diverse ones then climb in a random direction of logits, which raises the
        target's."""
        radius = self.norm.radii[0] * self.eps
        images, numbers = self.images[rows.samples], self.numbers[rows.samples.cpu()]
        noise = self.norm.random_start(numbers, images, radius, seed=self.seed, name=rows.name)
        points = self.norm.project(images + noise, images, radius)
        if not rows.diverse:
            return points
        draws = generators(numbers, self.seed, f"{rows.name} w")
        return climb(self.climbing, points, images, draws, norm=self.norm, eps=radius, targets=rows.targets)


def climb(
    network: nn.Module,
    points: Tensor,
    images: Tensor,
    draws: Iterable[np.random.Generator],
    *,
    norm: Norm,
    eps: Radius,
    targets: Tensor | None = None,
) -> Tensor:
    """Diverse starts: points that climb in a random direction of logits, which raises the target's.

    Args:
        network: in eval mode, parameters without gradients.
        points, images: ``(N, C, H, W)``, where they begin, and the clean images.
        draws: one generator per sample, for its direction.
        norm, eps: the ball, or with ``eps (N, 1, 1, 1)`` a ball for each sample.
        targets: ``(N,)``, or None.
    """
    drawn = list(draws)
    weights: list[Tensor] = []

    def rise(logits: Tensor) -> Tensor:
        if not weights:
            rows = torch.stack([torch.from_numpy(one.uniform(-1, 1, logits.shape[1])) for one in drawn]).to(logits)
            weights.append(rows if targets is None else rows.scatter(1, targets[:, None], 1.0))
        return in_direction(weights[0])(logits)

    for _ in range(DIVERSE_STEPS):
        gradient, _ = input_gradient(network, points, rise)
        points = norm.project(points + eps * norm.normalize(gradient), images, eps)
    return points.detach()


def is_nearest(lacks: Tensor, limit: float, count: int) -> Tensor:
    """``(N, T)`` bool: the lacks below the limit, at most ``count`` of a sample: the smallest."""
    return (lacks < limit) & (lacks.argsort(dim=1, stable=True).argsort(dim=1) < count)


def _round(number: int, samples: Tensor, pairs: Tensor, targets: Tensor) -> tuple[Rows, Rows]:
    """One round on samples, and on pairs of a sample and a target."""
    turn, diverse = number // 2, number % 2 == 1
    return (
        Rows(samples, None, UNTARGETED[turn % len(UNTARGETED)], f"u-{number}", diverse),
        Rows(pairs, targets, TARGETED[turn % len(TARGETED)], f"r-{number}", diverse),
    )


def measure_lack(network: nn.Module, points: Tensor, away: Loss, norm: Norm, eps: float) -> Tensor:
    """``(N,)`` float64: the share of eps from each point to where ``away`` is 0, to first order; 0 if flat.

    Divided by the norm's ``overstated``, so that the same lack means the same effort in each norm.
    """
    gradient, logits = input_gradient(network, points, away)
    slope = norm.overstated * eps * norm.dual(gradient).double()
    lack = -away(logits).double() / slope
    return torch.where((slope > 0) & lack.isfinite(), lack, 0.0).clamp_min(0)


def rank_targets(network: nn.Module, images: Tensor, labels: Tensor, norm: Norm, count: int) -> Tensor:
    """``(N, T)`` wrong classes, the nearest to first order first: those with the smallest margin over gradient norm.

    The candidates are the wrong classes with the highest logits, ``count`` at most.
    """
    with torch.no_grad():
        targets = choose_targets(network(images.clone()), labels)[:, :count]
    distances = []
    for column in targets.unbind(1):
        loss = towards(column, labels)
        gradient, logits = input_gradient(network, images, loss)
        distances.append(-loss(logits).double() / norm.dual(gradient).double().clamp_min(1e-30))
    return targets.gather(1, torch.stack(distances, 1).argsort(dim=1, stable=True))
