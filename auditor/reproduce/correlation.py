"""C and F of standard, PGD-AT and TRADES networks: the paper's main finding."""

from collections.abc import Callable

import numpy as np

from auditor.clustering import RANK_COLLAPSE
from auditor.reproduce.bench import Bench, Geometry, recipe_name
from auditor.reproduce.records import METHODS, Cell, Claim, Column, Estimate, ExperimentResult, Table
from auditor.reproduce.rules import decide, decide_absent, over_units

COLUMNS = (
    Column("family"),
    Column("training"),
    Column("gap of C", "number"),
    Column("95 % over seeds", "interval"),
    Column("p below 0.05", "text"),
    Column("effective rank", "number"),
    Column("gap of F", "number"),
    Column("95 % over seeds", "interval"),
    Column("clean", "percent"),
    Column("robust", "percent"),
)
Found = dict[tuple[str, str], list[Geometry]]


def run(bench: Bench) -> ExperimentResult:
    """Train each family by each method and seed; compare the gaps of C and F."""
    found: Found = {}
    rows: list[tuple[Cell, ...]] = []
    for family in bench.settings.families:
        for method in METHODS:
            networks = [bench.network(method, seed, family=family) for seed in bench.seeds]
            found[family, method] = [bench.geometry(network) for network in networks]
            accuracy = [bench.verdicts(network, bench.data.test) for network in networks]
            rows.append(
                (
                    family,
                    recipe_name(method, 0),
                    *_geometry_cells(found[family, method]),
                    float(np.mean([one.clean for one in accuracy])),
                    float(np.mean([one.robust for one in accuracy])),
                )
            )
    return ExperimentResult(
        experiment="correlation",
        dataset=bench.settings.dataset,
        claims=_claims(bench, found),
        tables=(Table(title="Means over the seeds", columns=COLUMNS, rows=tuple(rows)),),
        notes=(
            "C is that of the linearized network with batch norm removed; F is that of the logits' class means.",
            "p is the permutation p-value of the gap of C, counted over the seeds. Below an effective rank of "
            f"{RANK_COLLAPSE:g}, C is one pattern with signs, and its gap says little.",
            "The claim about standard networks was added after this project's first run on Fashion-MNIST.",
        ),
    )


def _geometry_cells(found: list[Geometry]) -> tuple[Cell, ...]:
    gap, features = (over_units(values, "seeds") for values in (_gaps(found), [one.feature_gap for one in found]))
    return (
        gap.value,
        (gap.low, gap.high),
        f"{sum(one.p_value < 0.05 for one in found)} of {len(found)}",
        float(np.mean([one.rank for one in found])),
        features.value,
        (features.low, features.high),
    )


def _gaps(found: list[Geometry]) -> list[float]:
    return [one.gap for one in found]


def _claims(bench: Bench, found: Found) -> tuple[Claim, ...]:
    claims = []
    for method in ("at", "trades"):
        for matrix, value in (("C", lambda one: one.gap), ("F", lambda one: one.feature_gap)):
            text = f"{matrix} of {recipe_name(method, 0)} networks has a larger gap than {matrix} of standard networks"
            claims.append(decide(text, difference(bench, found, method, value), "number"))
    standard = {family: _gaps(found[family, "standard"]) for family in bench.settings.families}
    claims.append(decide_absent("C of standard networks has no gap", over_families(standard)))
    return tuple(claims)


def difference(bench: Bench, found: Found, method: str, value: Callable[[Geometry], float]) -> Estimate:
    """A score of networks by ``method`` minus that of standard networks, over families, or seeds for one family."""
    differences = {
        family: [
            value(one) - value(other)
            for one, other in zip(found[family, method], found[family, "standard"], strict=True)
        ]
        for family in bench.settings.families
    }
    return over_families(differences)


def over_families(values: dict[str, list[float]]) -> Estimate:
    """The mean over families of the means over seeds; for one family the mean over seeds."""
    if len(values) == 1:
        (only,) = values.values()
        return over_units(only, "seeds")
    return over_units([float(np.mean(each)) for each in values.values()], "families")
