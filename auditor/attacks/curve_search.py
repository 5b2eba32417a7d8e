"""The smallest perturbation that breaks each sample: short ascents in balls that shrink until they break it no more.

A sample that is broken is attacked again in a smaller ball, one that withstands in a ball that is a little larger, so
that its radius closes in on the decision boundary. The ascents take turns with losses and targets, and begin at the
best point known, moved into the ball, at a random or at a diverse one. In L2 the latter two approach the ball through
wider ones, as in :mod:`auditor.attacks.search`. An ascent ends at the first misclassified point, which is then drawn
towards the clean image for as long as it stays misclassified.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks.ascent import APPROACH_STEPS, approach, approach_gradients, ascend
from auditor.attacks.autoattack import fab_towards
from auditor.attacks.gradient import Loss, cross_entropy, input_gradient, margin
from auditor.attacks.losses import dlr_towards, probability_margin, towards
from auditor.attacks.norms import L1, Norm, generators
from auditor.attacks.primal_dual import minimize_l1
from auditor.attacks.search import DIVERSE_STEPS, climb
from auditor.attacks.targeted import choose_targets

PARAMETERS: dict[str, Any] = {
    "largest": 4.0,
    "rounds": 90,
    "iterations": 25,
    "targets": 9,
    "fab": [[9, 20], [2, 100]],
    "primal_dual": {"iterations": 300, "targets": 3},
    "first_cut": 0.3,
    "least_cut": 0.0025,
    "patience": 7,
    "nearest": 6,
    "growth": 1.5,
    "line_steps": 5,
}
"""Settings of the search.

- ``largest``: the largest radius, in eps; ``targets``: the largest number of target classes.
- ``fab``: pairs of a number of targets and of iterations: all targets at first, then, for longer, the nearest ones.
- ``primal_dual``: in L1 alone, iterations of PDPGD, once untargeted and towards so many of the nearest targets.
- ``rounds``: the largest number of ascents, of ``iterations`` gradients each.
- ``first_cut``: the share by which the first smaller ball is smaller. It is halved once the sample has withstood
  ``patience`` ascents in a row, and below ``least_cut`` the sample is done.
- ``nearest``: the number of targets of the ascents, those to which FAB came nearest.
- ``growth``: of the radius while nothing is found; ``line_steps``: of the bisection towards the clean image.
"""
APPROACHING: dict[str, Any] = {"fab": [[9, 20], [4, 100]], "patience": 4, "iterations": 15}
"""What differs in norms with wider balls, through which random and diverse starts approach their own.

An ascent that approaches its ball costs more and finds more, so each step is tried fewer times, with shorter ascents;
FAB gets a part of what that saves.
"""
PUSHES = 6
"""A point so near to the boundary that rounding decides is pushed outward so many times, by a thousandth at first."""


def search_name(norm: Norm) -> str:
    """The search and its version, which changes with the search or its settings: only curves of one version compare."""
    return "minimal-3" if approach_gradients(norm) else "minimal-2"


def search_settings(norm: Norm) -> dict[str, Any]:
    """The settings of the search in a norm, with all that can change its numbers."""
    if not approach_gradients(norm):
        return PARAMETERS
    return PARAMETERS | APPROACHING | {"radii": list(norm.radii), "approach_steps": APPROACH_STEPS}


def largest_radius(norm: Norm, eps: float) -> float:
    """The largest radius of a curve for an audit at ``eps``."""
    largest: float = min(PARAMETERS["largest"] * eps, norm.max_eps)
    return largest


def most_passes(samples: int, norm: Norm) -> int:
    """The largest number of gradients that a search on so many samples takes."""
    settings = search_settings(norm)
    each = settings["primal_dual"]
    descent = each["iterations"] * (1 + each["targets"]) if norm is L1 else 0
    fab = sum(count * iterations for count, iterations in settings["fab"])
    ascent = approach_gradients(norm) + settings["iterations"]
    ascents = settings["rounds"] * ascent + settings["rounds"] // 4 * DIVERSE_STEPS
    most: int = samples * (fab + descent + ascents)
    return most


def check_sizes(model: nn.Module, images: Tensor, labels: Tensor, found: Tensor, norm: Norm) -> Tensor:
    """``(N,)`` float64: the size of each change that the model misclassifies inside the box, measured again; else inf.

    A search decides in batches of other sizes, in which the model rounds differently. So a point that is no longer
    misclassified is pushed a little away from the clean image.
    """
    sizes = torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)
    changed = (found != images).flatten(1).any(1)
    rest = changed.nonzero().flatten()
    for push in range(PUSHES):
        factor = 1.0 if push == 0 else 1 + 1e-3 * 2 ** (push - 1)
        points = (images[rest] + factor * (found[rest] - images[rest])).clamp(0, 1) if push else found[rest]
        with torch.no_grad():
            wrong = model(points.clone()).argmax(1) != labels[rest]
        wrong &= norm.within_budget(points, images[rest], torch.inf)
        reached = norm.size(points.double() - images[rest].double()).flatten()
        sizes[rest[wrong]] = reached[wrong]
        rest = rest[~wrong]
        if not len(rest):
            break
    return sizes


class MinimalSearch:
    """The search on one batch.

    Args:
        network: what the ascents run on; in eval mode, parameters without gradients.
        model: what decides whether a point is misclassified.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``, all classified correctly.
        numbers: ``(N,)`` on the CPU; random starts are drawn by these.
        norm: which sizes are measured.
        largest: the largest radius to attack in.
        known: ``(N,)`` float64, the sizes of adversarial images that are known already; infinite without one.
        seed: the seed for every random draw.

    Attributes:
        found: ``(N, C, H, W)``: the nearest misclassified point that the search found, else the clean image.
        sizes: ``(N,)`` float64: its distance, or what was known if that is smaller; infinite without either.
    """

    def __init__(
        self,
        network: nn.Module,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        numbers: Tensor,
        *,
        norm: Norm,
        largest: float,
        known: Tensor,
        seed: int,
    ) -> None:
        self.network, self.model, self.images, self.labels, self.numbers = network, model, images, labels, numbers
        self.norm, self.largest, self.seed = norm, largest, seed
        self.found, self.sizes = images.clone(), known.clone()
        self.improved = torch.zeros_like(known, dtype=torch.bool)

    def run(self, settings: dict[str, Any]) -> None:
        """Attack every sample until its radius has closed in on the boundary, ``rounds`` times at most.

        ``settings``: those of :func:`search_settings`.
        """
        self.settings = settings
        with torch.no_grad():
            targets = choose_targets(self.network(self.images.clone()), self.labels)[:, : settings["targets"]]
        ranked = targets.gather(1, self._run_fab(targets.shape[1]).argsort(dim=1, stable=True))
        if self.norm is L1 and settings["primal_dual"]:
            self._run_primal_dual(ranked, **settings["primal_dual"])
        reach = self._first_reach()
        cut, failed = torch.full_like(reach, settings["first_cut"]), torch.zeros_like(reach)
        for number in range(settings["rounds"]):
            active = (cut >= settings["least_cut"]).nonzero().flatten()
            if not len(active):
                break
            broken_before = self.sizes.isfinite()
            radius = torch.where(broken_before, self.sizes * (1 - cut), reach).clamp_max(self.largest)
            broken = torch.zeros_like(broken_before)
            broken[active] = self._attack(active, radius[active], ranked[active], number)
            withstood = torch.zeros_like(broken)
            withstood[active] = ~broken[active]
            failed = torch.where(broken, 0, failed + (withstood & broken_before))
            halve = failed >= settings["patience"]
            cut, failed = torch.where(halve, cut / 2, cut), torch.where(halve, 0, failed)
            reach = torch.where(withstood, (reach * settings["growth"]).clamp_max(self.largest), reach)

    def _run_fab(self, targets: int) -> Tensor:
        """FAB towards each target, and again, for longer, towards those by which it came nearest.

        Returns the distances that it reached ``(N, T)``; infinite where it broke nothing.
        """
        reached = torch.full((len(self.images), targets), torch.inf, dtype=torch.float64, device=self.images.device)
        for count, iterations in self.settings["fab"]:
            chosen = torch.zeros_like(reached, dtype=torch.bool)
            chosen.scatter_(1, reached.argsort(dim=1, stable=True)[:, :count], True)
            for rank in range(targets):
                rows = chosen[:, rank].nonzero().flatten()
                if len(rows):
                    points = fab_towards(
                        self.network,
                        self.images[rows],
                        self.labels[rows],
                        norm=self.norm,
                        rank=rank,
                        iterations=iterations,
                    )
                    reached[rows, rank] = self._keep_nearest(rows, points)
        return reached

    def _run_primal_dual(self, ranked: Tensor, iterations: int, targets: int) -> None:
        """PDPGD towards any wrong class, and towards the nearest ones."""
        rows = torch.arange(len(self.images), device=self.images.device)
        towards_targets = [towards(column, self.labels) for column in ranked.unbind(1)[:targets]]
        for away in (margin(self.labels), *towards_targets):
            points = minimize_l1(self.network, self.images, self.labels, iterations, away)
            self._keep_nearest(rows, points)

    def _first_reach(self) -> Tensor:
        """``(N,)`` float64: the distance to the boundary to first order, in a plausible range."""
        away = margin(self.labels)
        gradient, logits = input_gradient(self.network, self.images, away)
        distance = -away(logits).double() / self.norm.dual(gradient).double()
        return distance.nan_to_num(self.largest).clamp(self.largest / 32, self.largest)

    def _loss(self, number: int, labels: Tensor, ranked: Tensor) -> Callable[[Tensor], Loss]:
        """The loss of a round: untargeted and targeted ones take turns."""
        turn, targeted = divmod(number, 2)
        if not targeted:
            make = (margin, probability_margin, cross_entropy)[turn % 3]
            return lambda rows: make(labels[rows])
        nearest = min(self.settings["nearest"], ranked.shape[1])
        target, towards_target = ranked[:, turn % nearest], (towards, dlr_towards)[turn // nearest % 2]
        return lambda rows: towards_target(target[rows], labels[rows])

    def _attack(self, rows: Tensor, radius: Tensor, ranked: Tensor, number: int) -> Tensor:
        """One ascent on these rows; ``(M,)`` bool, whether it found a nearer adversarial image."""
        images, labels = self.images[rows], self.labels[rows]
        ball, loss_of = radius.to(images).view(-1, 1, 1, 1), self._loss(number, labels, ranked)
        end = ascend(
            self.network,
            images,
            labels,
            loss_of,
            norm=self.norm,
            eps=ball,
            iterations=self.settings["iterations"],
            start=self._start(rows, ball, number, loss_of),
        )
        broken = end.broken.nonzero().flatten()
        if len(broken):
            self._keep_nearest(rows[broken], end.points[broken])
        return end.broken

    def _start(self, rows: Tensor, ball: Tensor, number: int, loss_of: Callable[[Tensor], Loss]) -> Tensor:
        """Points in the balls: the best known one, drawn into its ball, and by turns a random or a diverse one.

        The latter two are drawn in the widest of the norm's balls, and approach their own.
        """
        images, numbers, turn = self.images[rows], self.numbers[rows.cpu()], number // 2
        widest = self.norm.radii[0] * ball
        noise = self.norm.random_start(numbers, images, 1.0, seed=self.seed, name=f"minimal {number}")
        warm = self.improved[rows] & torch.tensor(turn % 2 == 0)
        is_warm = warm.view(-1, 1, 1, 1)
        start = torch.where(is_warm, self.found[rows], images + noise * widest)
        start = self.norm.project(start, images, torch.where(is_warm, ball, widest))
        if turn % 4 == 3:
            draws = generators(numbers, self.seed, f"nearest {number}")
            start = climb(self.network, start, images, draws, norm=self.norm, eps=widest)
        cold = (~warm).nonzero().flatten()
        if len(cold):
            ascend_here = functools.partial(
                ascend,
                self.network,
                images[cold],
                self.labels[rows[cold]],
                lambda chosen: loss_of(cold[chosen]),
                norm=self.norm,
            )
            start[cold] = approach(ascend_here, images[cold], start[cold], norm=self.norm, eps=ball[cold])
        return start

    def _keep_nearest(self, rows: Tensor, points: Tensor) -> Tensor:
        """Draw points towards their clean images while the model misclassifies them, and keep those that are nearer.

        Returns their sizes ``(M,)``, infinite where the model never misclassifies them.
        """
        images, labels = self.images[rows], self.labels[rows]
        low, high = points.new_zeros(len(rows), 1, 1, 1), points.new_ones(len(rows), 1, 1, 1)
        best, found = points, self._is_wrong(points, labels)
        for _ in range(self.settings["line_steps"]):
            middle = (low + high) / 2
            candidates = images + middle * (points - images)
            wrong = self._is_wrong(candidates, labels)
            shorter = wrong.view(-1, 1, 1, 1)
            best = torch.where(shorter, candidates, best)
            found = found | wrong
            low, high = torch.where(shorter, low, middle), torch.where(shorter, middle, high)
        sizes = self.norm.size(best.double() - images.double()).flatten()
        nearer = (found & (sizes < self.sizes[rows])).nonzero().flatten()
        self.found[rows[nearer]] = best[nearer]
        self.sizes[rows[nearer]] = sizes[nearer]
        self.improved[rows[nearer]] = True
        return sizes.where(found, torch.inf)

    def _is_wrong(self, points: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            wrong: Tensor = self.model(points.clone()).argmax(1) != labels
        return wrong
