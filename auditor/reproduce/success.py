"""Success of targeted attacks between pairs of classes, and whether it clusters by superclass as C does."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.clustering import clustering_scores, spearman
from auditor.records import METHOD_VERSION, Matrix
from auditor.reproduce.bench import Bench, Geometry, Network, recipe_name
from auditor.reproduce.correlation import over_families
from auditor.reproduce.data import Labelled
from auditor.reproduce.records import METHODS, Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import decide

STEPS = 10
EACH = 20
"""Images of each class."""


@dataclass(frozen=True)
class Success:
    """The matrix of success, its mean, its gap, and its rank correlation with C over pairs of classes."""

    mean: float
    gap: float
    p_value: float
    rho: float


def success_matrix(model: nn.Module, images: Labelled, classes: int, eps: float) -> Matrix:
    """``(K, K)``: the share of correctly classified images of class i that targeted PGD turns into class j.

    The diagonal is 1; a row is NaN if no image of the class is classified correctly.
    """
    with frozen(model):
        with torch.no_grad():
            right = model(images.images).argmax(1) == images.labels
        x, y, numbers = images.images[right], images.labels[right], images.numbers[right]
        found: Matrix = np.full((classes, classes), np.nan)
        start = LINF.random_start(numbers, x, eps, seed=0, name="success") if len(x) else x
        for target in range(classes):
            reached = _reached(model, x, start, target, eps)
            for k in range(classes):
                if bool((y == k).any()):
                    found[k, target] = 1.0 if k == target else float(reached[y == k].double().mean())
    return found


def _reached(model: nn.Module, x: Tensor, start: Tensor, target: int, eps: float) -> Tensor:
    """``(N,)`` bool: which images PGD turns into the class ``target``."""
    if not len(x):
        return torch.zeros(0, dtype=torch.bool)
    towards = cross_entropy(torch.full((len(x),), target))
    points = pgd(
        model, x, lambda logits: -towards(logits), norm=LINF, eps=eps, steps=STEPS, step_size=eps / 4, start=start
    )
    with torch.no_grad():
        reached: Tensor = model(points).argmax(1) == target
    return reached


def score(matrix: Matrix, correlation: Matrix, superclasses: tuple[str, ...]) -> Success:
    """Scores of a matrix of success, made symmetric, beside C."""
    both = (matrix + matrix.T) / 2
    scores = clustering_scores(both, superclasses)
    pairs = np.triu_indices(len(both), 1)
    return Success(
        mean=float(np.mean(both[pairs])),
        gap=scores.gap,
        p_value=scores.p_value,
        rho=spearman(both[pairs].tolist(), correlation[pairs].tolist()).rho,
    )


def run(bench: Bench) -> ExperimentResult:
    """Measure all networks of the experiment ``correlation``."""
    images = per_class(bench.data.test, EACH)
    found: dict[tuple[str, str], list[tuple[Success, Geometry]]] = {}
    for family in bench.settings.families:
        for method in METHODS:
            networks = [bench.network(method, seed, family=family) for seed in bench.seeds]
            found[family, method] = [_measure(bench, network, images) for network in networks]
    rows: list[tuple[Cell, ...]] = [
        (
            family,
            recipe_name(method, 0),
            float(np.mean([one.mean for one, _ in each])),
            float(np.mean([one.gap for one, _ in each])),
            f"{sum(one.p_value < 0.05 for one, _ in each)} of {len(each)}",
            float(np.mean([geometry.gap for _, geometry in each])),
            float(np.mean([one.rho for one, _ in each])),
        )
        for (family, method), each in found.items()
    ]
    columns = (
        Column("family"),
        Column("training"),
        Column("mean success", "percent"),
        Column("gap of success", "number"),
        Column("p below 0.05"),
        Column("gap of C", "number"),
        Column("rank correlation with C", "number"),
    )
    return ExperimentResult(
        experiment="success",
        dataset=bench.settings.dataset,
        claims=_claims(bench, found),
        tables=(Table(title="Means over the seeds", columns=columns, rows=tuple(rows)),),
        notes=(
            f"Targeted PGD-{STEPS} of steps eps / 4 on up to {EACH} test images of each class that are classified "
            "correctly, towards each other class. The matrix is made symmetric. Where nearly every attack succeeds, "
            "there is no room for a gap.",
        ),
    )


def per_class(images: Labelled, count: int) -> Labelled:
    """The first ``count`` images of each class, in their order."""
    seen = torch.zeros(int(images.labels.max()) + 1, dtype=torch.int64)
    chosen = []
    for number, label in enumerate(images.labels.tolist()):
        seen[label] += 1
        if seen[label] <= count:
            chosen.append(number)
    return Labelled.of(images.images[chosen], images.labels[chosen], images.numbers[chosen])


def _measure(bench: Bench, network: Network, images: Labelled) -> tuple[Success, Geometry]:
    def measure() -> dict[str, object]:
        bench.work.report(f"{network.name}: targeted attacks between classes")
        return {"matrix": success_matrix(network.model, images, len(bench.superclasses), bench.settings.eps).tolist()}

    inputs = {
        "weights": network.digest, "images": images.digest, "eps": bench.settings.eps, "steps": STEPS,
        "method": METHOD_VERSION,
    }  # fmt: skip
    matrix = np.array(bench.work.part("success", inputs, measure)["matrix"], np.float64)
    geometry = bench.geometry(network)
    return score(matrix, geometry.correlation, bench.superclasses), geometry


def _claims(bench: Bench, found: dict[tuple[str, str], list[tuple[Success, Geometry]]]) -> tuple[Claim, ...]:
    def over(value: str, method: str) -> dict[str, list[float]]:
        return {family: [getattr(one, value) for one, _ in found[family, method]] for family in bench.settings.families}

    claims = []
    for method in ("at", "trades"):
        name = recipe_name(method, 0)
        text = f"Attacks on {name} networks succeed more often inside a superclass than between two"
        claims.append(decide(text, over_families(over("gap", method)), "number"))
        text = f"On {name} networks the success of attacks between classes follows C"
        claims.append(decide(text, over_families(over("rho", method)), "number"))
    return tuple(claims)
