"""The search of protocol ``strong``: short ascents, and restarts of those that nearly broke their sample.

What decides is the **lack** of a sample: the share of eps that it lacks to the boundary, to first order, at the best
point of an ascent. It is the margin there, over eps times the dual norm of the margin's gradient. It has no unit, and
depends on nothing but the sample and the seed. A sample that lacks half of eps is hopeless, one that lacks a
hundredth is worth thirty restarts. The lack is also measured towards each target class, because the class that is
nearest at first is not always the one that breaks the sample.

The ideas are those of MALT (targets by margin over gradient norm), PMA (the margin of probabilities) and A3 (diverse
starts; hopeless samples are left out); the schedule and the code are auditor's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks.ascent import ascend
from auditor.attacks.gradient import Loss, cross_entropy, input_gradient, margin
from auditor.attacks.losses import dlr_towards, in_direction, probability_margin, towards
from auditor.attacks.norms import Norm, generators
from auditor.attacks.targeted import choose_targets

DIVERSE_STEPS = 2
"""Steps of size eps in a random direction of logits, before an ascent with a diverse start."""
UNTARGETED: tuple[Callable[[Tensor], Loss], ...] = (cross_entropy, probability_margin, margin)
TARGETED: tuple[Callable[[Tensor, Tensor], Loss], ...] = (dlr_towards, towards)
"""The losses take turns from round to round; every second round of each has a diverse start."""


@dataclass(frozen=True)
class Rows:
    """What one ascent attacks: ``(M,)`` positions of samples, and the target of each, or no targets."""

    samples: Tensor
    targets: Tensor | None = None

    def split(self, size: int) -> "list[Rows]":
        if self.targets is None:
            return [Rows(part) for part in torch.split(self.samples, size)]
        return [
            Rows(*parts) for parts in zip(torch.split(self.samples, size), torch.split(self.targets, size), strict=True)
        ]


class Search:
    """The search on one batch.

    Args:
        network: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        numbers: ``(N,)`` on the CPU; random starts are drawn by these.
        norm, eps: the budget.
        seed: the seed for every random draw.
        together: keep all samples of a pass until it ends, because the model's logits may depend on the batch.

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
    ) -> None:
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
                and the number of rounds on the samples, and on the pairs of sample and target, that lack less.
        """
        self.iterations = settings["iterations"]
        self._attack(Rows(self._nearer_than(torch.inf)), margin, "first", diverse=False)
        near = self._nearer_than(settings["explore"])
        if not len(near):
            return
        ranked = rank_targets(self.network, self.images[near], self.labels[near], self.norm, settings["targets"])
        self.iterations = settings["explore_iterations"]
        lacks = torch.full(ranked.shape, torch.inf, dtype=torch.float64, device=ranked.device)
        for rank, targets in enumerate(ranked.unbind(1)):
            rest = (~self.broken[near]).nonzero().flatten()
            lacks[rest, rank] = self._attack(Rows(near[rest], targets[rest]), towards, f"t-{rank}", diverse=False)
        self.iterations, number = settings["iterations"], 0
        for limit, rounds in settings["rounds"]:
            for _ in range(rounds):
                turn, diverse = number // 2, number % 2 == 1
                self._attack(
                    Rows(self._nearer_than(limit)), UNTARGETED[turn % len(UNTARGETED)], f"u-{number}", diverse=diverse
                )
                rows, ranks = ((lacks < limit) & ~self.broken[near, None]).nonzero(as_tuple=True)
                again = Rows(near[rows], ranked[rows, ranks])
                found = self._attack(again, TARGETED[turn % len(TARGETED)], f"r-{number}", diverse=diverse)
                lacks[rows, ranks] = torch.minimum(lacks[rows, ranks], found)
                number += 1

    def _nearer_than(self, limit: float) -> Tensor:
        """Positions of the unbroken samples that lack less than this, or anything if the limit is infinite."""
        near = (self.lack < limit) | torch.tensor(limit == torch.inf, device=self.lack.device)
        return (near & ~self.broken).nonzero().flatten()

    def _attack(self, rows: Rows, make: Callable[..., Loss], name: str, *, diverse: bool) -> Tensor:
        """Attack rows in parts of at most N; ``(M,)`` float64, what each lacks."""
        parts = rows.split(len(self.images)) if len(rows.samples) else []
        return torch.cat([self.lack[:0], *(self._attack_part(part, make, name, diverse=diverse) for part in parts)])

    def _attack_part(self, rows: Rows, make: Callable[..., Loss], name: str, *, diverse: bool) -> Tensor:
        images, labels, targets = self.images[rows.samples], self.labels[rows.samples], rows.targets

        def loss_of(chosen: Tensor) -> Loss:
            return make(labels[chosen]) if targets is None else make(targets[chosen], labels[chosen])

        end = ascend(
            self.network,
            images,
            labels,
            loss_of,
            norm=self.norm,
            eps=self.eps,
            iterations=self.iterations,
            start=self._start(rows, name, diverse=diverse),
            together=self.together,
        )
        broken = end.broken.nonzero().flatten()
        self.found[rows.samples[broken]] = end.points[broken]
        self.broken[rows.samples[broken]] = True
        lack = self.lack.new_zeros(len(images))
        rest = (~end.broken).nonzero().flatten()
        if len(rest):
            away = margin(labels[rest]) if targets is None else towards(targets[rest], labels[rest])
            lack[rest] = measure_lack(self.network, end.points[rest], away, self.norm, self.eps)
        self.lack = self.lack.scatter_reduce(0, rows.samples, lack, "amin")
        return lack

    def _start(self, rows: Rows, name: str, *, diverse: bool) -> Tensor:
        """Random points; diverse ones then climb in a random direction of logits, which raises the target's."""
        images, numbers = self.images[rows.samples], self.numbers[rows.samples.cpu()]
        noise = self.norm.random_start(numbers, images, self.eps, seed=self.seed, name=name)
        points = self.norm.project(images + noise, images, self.eps)
        for _ in range(DIVERSE_STEPS if diverse else 0):
            gradient, _ = input_gradient(self.network, points, lambda logits: self._climb(rows, numbers, name, logits))
            points = self.norm.project(points + self.eps * self.norm.normalize(gradient), images, self.eps)
        return points.detach()

    def _climb(self, rows: Rows, numbers: Tensor, name: str, logits: Tensor) -> Tensor:
        draws = [one.uniform(-1, 1, logits.shape[1]) for one in generators(numbers, self.seed, f"{name} w")]
        weights = torch.stack([torch.from_numpy(one) for one in draws]).to(logits)
        if rows.targets is not None:
            weights = weights.scatter(1, rows.targets[:, None], 1.0)
        return in_direction(weights)(logits)


def measure_lack(network: nn.Module, points: Tensor, away: Loss, norm: Norm, eps: float) -> Tensor:
    """``(N,)`` float64: the share of eps from each point to where ``away`` is 0, to first order; 0 if flat."""
    gradient, logits = input_gradient(network, points, away)
    slope = eps * norm.dual(gradient).double()
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
