"""Superclasses of unseen subclasses without tuning; and what the slips in the authors' scripts change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.attacks.gradient import Loss, cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.records import METHOD_VERSION
from auditor.reproduce.adaptation import adapted
from auditor.reproduce.bench import Bench
from auditor.reproduce.data import Labelled
from auditor.reproduce.records import Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import compare_verdicts, over_images
from auditor.reproduce.sources import ORDER, RECIPES, SourceRecipe, members, source_network, target_tests

STEPS = 10
Groups = Sequence[Sequence[int]]
"""For each superclass the numbers of its source classes."""
NAMES = ("floor", "average", "right", "right, no floor", "coarse", "coarse, no floor")


@dataclass(frozen=True)
class ZeroShot:
    """Right answers ``(N,)`` on the target test images.

    Attributes:
        verdicts: by name. ``floor`` is the superclass of the class with the largest logit, ``average`` that with the
            largest mean of logits. The others are ``floor`` on attacked images: ``right`` attacks the superclass,
            ``coarse`` the class whose number is that of the superclass; ``no floor`` divides without rounding.
    """

    verdicts: dict[str, NDArray[np.bool_]]


def superclass_of(classes: Tensor, groups: Groups) -> Tensor:
    """The superclass of each class ``(N,)``; ``floor(class / 4)`` with four classes each."""
    number = {k: number for number, group in enumerate(groups) for k in group}
    return torch.tensor([number[k] for k in classes.tolist()])


def divided(classes: Tensor, groups: Groups) -> Tensor:
    """The same without rounding: ``class / 4`` is whole only for the first class of a superclass, else -1 ``(N,)``."""
    first = {group[0]: number for number, group in enumerate(groups)}
    return torch.tensor([first.get(k, -1) for k in classes.tolist()])


def averaged(logits: Tensor, groups: Groups) -> Tensor:
    """Logits ``(N, K)`` to their means over each superclass ``(N, M)``."""
    return torch.stack([logits[:, list(group)].mean(1) for group in groups], 1)


def superclass_margin(labels: Tensor, groups: Groups) -> Loss:
    """The largest logit outside the superclass minus the largest inside: positive once ``floor`` is wrong."""

    def loss(logits: Tensor) -> Tensor:
        largest = torch.stack([logits[:, list(group)].amax(1) for group in groups], 1)
        true = nn.functional.one_hot(labels, len(groups)).bool()
        return largest.masked_fill(true, -torch.inf).amax(1) - largest[true]

    return loss


def zero_shot(bench: Bench, recipe: SourceRecipe, seed: int) -> ZeroShot:
    """Measure a source network of this recipe and seed."""
    source, tests, groups = source_network(bench, recipe, seed), target_tests(bench), members(bench)
    eps = bench.settings.adaptation_eps

    def measure() -> dict[str, list[int]]:
        bench.work.report(f"{source.name}: zero-shot")
        found = answers(source.model, tests, groups, eps)
        return {name: found[name].int().tolist() for name in NAMES}

    inputs = {
        "weights": source.digest, "tests": tests.digest, "members": groups, "eps": eps, "steps": STEPS,
        "method": METHOD_VERSION,
    }  # fmt: skip
    found = bench.work.part("zero_shot", inputs, measure)
    return ZeroShot({name: np.array(found[name], bool) for name in NAMES})


def answers(model: nn.Module, tests: Labelled, groups: Groups, eps: float) -> dict[str, Tensor]:
    """Whether each image gets the right superclass, ``(N,)`` bool, by the names of :class:`ZeroShot`."""
    labels = tests.labels
    with frozen(model):
        with torch.no_grad():
            logits = model(tests.images)
        start = LINF.random_start(tests.numbers, tests.images, eps, seed=0, name="zero")
        attacked = {}
        for name, loss in (("right", superclass_margin(labels, groups)), ("coarse", cross_entropy(labels))):
            points = pgd(model, tests.images, loss, norm=LINF, eps=eps, steps=STEPS, step_size=eps / 4, start=start)
            with torch.no_grad():
                attacked[name] = model(points).argmax(1)
    found = {
        "floor": superclass_of(logits.argmax(1), groups) == labels,
        "average": averaged(logits, groups).argmax(1) == labels,
    }
    for name, classes in attacked.items():
        found[name] = superclass_of(classes, groups) == labels
        found[f"{name}, no floor"] = divided(classes, groups) == labels
    return found


def run(bench: Bench) -> ExperimentResult:
    """Compare the three recipes, both rules, and the scripts' slips."""
    found = {recipe.name: [zero_shot(bench, recipe, seed) for seed in bench.seeds] for recipe in RECIPES}
    return ExperimentResult(
        experiment="zero_shot",
        dataset=bench.data.assignment.dataset,
        claims=_claims(found),
        tables=(_accuracies(found), _slips(bench, found)),
        notes=(
            "floor: the superclass of the class with the largest logit, floor(argmax / 4) where each superclass has "
            "four source classes; average: the largest mean of a superclass's logits.",
            "Attacks: PGD-10 of steps eps / 4 from a random start, as in the authors' script. It attacks coarse "
            "labels on the fine head (`coarse`), so that it pushes images away from the first classes only; and its "
            "adversarial score divides without floor, so that only the first class of a superclass counts.",
            "The authors' script is named after the last layer (finetune_fc), and its lines that freeze the others are "
            "commented out: the last rows are the adaptation's accuracy on augmented test images with all layers tuned "
            "minus that with the head alone.",
        ),
    )


def _series(each: Sequence[ZeroShot], name: str) -> list[NDArray[np.bool_]]:
    return [one.verdicts[name] for one in each]


def _claims(found: dict[str, list[ZeroShot]]) -> tuple[Claim, ...]:
    return tuple(
        compare_verdicts(
            f"Without tuning, a {better.name} network finds the superclasses of unseen classes better than a "
            f"{worse.name} one",
            _series(found[better.name], "floor"),
            _series(found[worse.name], "floor"),
        )
        for better, worse in ORDER
    )


def _accuracies(found: dict[str, list[ZeroShot]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, *(float(np.mean(_series(each, kind))) for kind in NAMES)) for name, each in found.items()
    ]
    headings = (
        "floor", "average", "attacked", "attacked, no floor", "attacked by coarse labels",
        "attacked by coarse labels, no floor (the authors' score)",
    )  # fmt: skip
    columns = (Column("network"), *(Column(heading, "percent") for heading in headings))
    return Table(title="Superclass accuracy on target classes, no tuning", columns=columns, rows=tuple(rows))


CHANGES = (
    ("average instead of floor", "average", "floor"),
    ("no floor in the adversarial score", "coarse, no floor", "coarse"),
    ("attack on coarse labels", "coarse", "right"),
    ("both slips: the authors' adversarial score", "coarse, no floor", "right"),
)


def _slips(bench: Bench, found: dict[str, list[ZeroShot]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for change, one, other in CHANGES:
        for name, each in found.items():
            estimate = over_images(_series(each, one), _series(each, other))
            rows.append((change, name, estimate.value, (estimate.low, estimate.high)))
    for recipe in RECIPES:
        free = [adapted(bench, "authors", recipe, seed).augmented for seed in bench.seeds]
        frozen_layers = [adapted(bench, "authors, head only", recipe, seed).augmented for seed in bench.seeds]
        estimate = over_images(free, frozen_layers)
        rows.append(
            ("all layers tuned instead of the head", recipe.name, estimate.value, (estimate.low, estimate.high))
        )
    columns = (Column("change"), Column("network"), Column("accuracy", "points"), Column("95 %", "points interval"))
    return Table(title="What each choice and slip changes", columns=columns, rows=tuple(rows))
