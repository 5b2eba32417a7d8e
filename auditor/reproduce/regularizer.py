"""The clustering regularizer on PGD-AT and TRADES, and what it is worth to select the epoch on the test images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from auditor.attacks import Protocol
from auditor.attacks.protocols import PGD_20
from auditor.reproduce.bench import Bench, Network, Verdicts, recipe_name
from auditor.reproduce.data import Labelled
from auditor.reproduce.records import Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import compare_verdicts, decide, over_images, over_units
from auditor.reproduce.training import train
from auditor.text.numbers import counted

SELECTION = Protocol("selection", None, (PGD_20,), "PGD-20")
METHODS = ("at", "trades")
PAPER_BETA = 0.1
"""The weight that the paper's text names for CIFAR-10."""


@dataclass(frozen=True)
class Selected:
    """One training: the epochs selected on validation and on test images, and the networks' verdicts and gap.

    Attributes:
        gap: of C of the network selected on validation.
        test: verdicts on the images of the selection, of the network selected on validation and on test images.
        fresh: the same on test images that selected nothing.
    """

    epochs: tuple[int, int]
    gap: float
    test: tuple[Verdicts, Verdicts]
    fresh: tuple[Verdicts, Verdicts]

    @property
    def survived(self) -> NDArray[np.bool_]:
        """Of all test images; the epoch was selected on validation."""
        return np.concatenate([self.test[0].survived, self.fresh[0].survived])

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.concatenate([self.test[0].correct, self.fresh[0].correct])


Found = dict[tuple[str, float], list[Selected]]


def run(bench: Bench) -> ExperimentResult:
    """Train with and without the regularizer; compare the epochs selected on validation."""
    found: Found = {
        (method, beta): [_select(bench, method, beta, seed) for seed in bench.seeds]
        for method in METHODS
        for beta in (0.0, *_betas(bench))
    }
    return ExperimentResult(
        experiment="regularizer",
        dataset=bench.settings.dataset,
        claims=(*_gains(bench, found), _selection_claim(found)),
        tables=(_accuracies(found), _selections(found)),
        notes=(
            f"{bench.family}, {counted(bench.settings.epochs, 'epoch')}. "
            f"Beta {PAPER_BETA:g} is the weight of the paper's text. "
            "The authors' script sums over the classes, with weight 0.1, which is about 1 on the same scale. "
            f"Beta {PAPER_BETA:g} was added after this project's first run on Fashion-MNIST.",
            "An epoch is selected by its accuracy under PGD-20, on validation images, or as the authors did on the "
            "test images.",
            "Robust: no attack of FGSM and PGD-20 changes the right class.",
        ),
    )


def _betas(bench: Bench) -> list[float]:
    """The paper's weight and that of the settings, which by default is that of the authors' script."""
    return sorted({PAPER_BETA, bench.settings.beta})


def best_epoch(accuracies: Sequence[float]) -> int:
    """The index of the largest; the first of equal ones."""
    return int(np.argmax(accuracies))


def _select(bench: Bench, method: str, beta: float, seed: int) -> Selected:
    plan, data = bench.plan(method, seed, beta=beta), bench.data
    networks = [
        bench.load(plan, data.training, state, f"{plan.name}, epoch {number}")
        for number, state in enumerate(train(bench.work, plan, data.training), 1)
    ]

    def select(images: Labelled) -> int:
        return best_epoch([bench.verdicts(network, images, protocol=SELECTION).robust for network in networks])

    def verdicts(images: Labelled) -> tuple[Verdicts, Verdicts]:
        first, second = (bench.verdicts(networks[epoch], images) for epoch in epochs)
        return first, second

    epochs = select(data.validation), select(data.test)
    chosen: Network = networks[epochs[0]]
    return Selected(
        (epochs[0] + 1, epochs[1] + 1), bench.geometry(chosen).gap, verdicts(data.tests[0]), verdicts(data.tests[1])
    )


def _gains(bench: Bench, found: Found) -> list[Claim]:
    claims = []
    for method, beta in product(METHODS, _betas(bench)):
        with_it, without = found[method, beta], found[method, 0.0]
        name = f"{recipe_name(method, 0)}, beta {beta:g}"
        claims.append(
            compare_verdicts(
                f"The regularizer raises the robust accuracy of {name}",
                [one.survived for one in with_it],
                [one.survived for one in without],
            )
        )
        claims.append(
            compare_verdicts(
                f"The regularizer raises the clean accuracy of {name}",
                [one.correct for one in with_it],
                [one.correct for one in without],
            )
        )
    return claims


def _selection_claim(found: Found) -> Claim:
    """Over all trainings together; a seed's difference is its mean over the trainings."""
    every = [one for each in found.values() for one in each]
    differences = [
        float(np.mean([one.test[1].robust - one.test[0].robust for one in seed]))
        for seed in zip(*found.values(), strict=True)
    ]
    estimate = over_images([one.test[1].survived for one in every], [one.test[0].survived for one in every], "training")
    text = "Selecting the epoch on the test images raises the robust accuracy that is reported on them"
    claim = decide(text, estimate, "points", differences)
    if all(one.epochs[0] == one.epochs[1] for one in every):
        return replace(claim, verdict="not decided", because="both selected the same epoch in every training")
    return claim


def _name(method: str, beta: float) -> str:
    return recipe_name(method, beta) + (f", beta {beta:g}" if beta else "")


def _accuracies(found: Found) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (method, beta), each in found.items():
        gap = over_units([one.gap for one in each], "seeds")
        rows.append(
            (
                _name(method, beta),
                float(np.mean([one.correct.mean() for one in each])),
                float(np.mean([one.survived.mean() for one in each])),
                sum(len(one.survived) for one in each),
                gap.value,
                (gap.low, gap.high),
            )
        )
    columns = (
        Column("training"),
        Column("clean", "percent"),
        Column("robust", "percent"),
        Column("images", "count"),
        Column("gap of C", "number"),
        Column("95 % over seeds", "interval"),
    )
    return Table(title="Epochs selected on validation, all test images", columns=columns, rows=tuple(rows))


def _selections(found: Found) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (method, beta), each in found.items():
        worth = {
            name: over_images([side[1].survived for side in sides], [side[0].survived for side in sides])
            for name, sides in (("test", [one.test for one in each]), ("fresh", [one.fresh for one in each]))
        }
        rows.append(
            (
                _name(method, beta),
                ", ".join(f"{one.epochs[0]} / {one.epochs[1]}" for one in each),
                float(np.mean([one.test[0].robust for one in each])),
                float(np.mean([one.test[1].robust for one in each])),
                worth["test"].value,
                (worth["test"].low, worth["test"].high),
                worth["fresh"].value,
                (worth["fresh"].low, worth["fresh"].high),
            )
        )
    columns = (
        Column("training"),
        Column("epochs: validation / test"),
        Column("robust, selected on validation", "percent"),
        Column("robust, selected on test", "percent"),
        Column("worth", "points"),
        Column("95 %", "points interval"),
        Column("worth on other test images", "points"),
        Column("95 %", "points interval"),
    )
    return Table(title="The epoch selected on test images, as the authors did", columns=columns, rows=tuple(rows))
