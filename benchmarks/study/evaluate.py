"""The evaluation that docs/screening.md plans: what is held out in turn, with bootstrap intervals over models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.clustering import spearman
from benchmarks.study.costs import cost_of, needs_data
from benchmarks.study.fitting import Floats, HeldOut, event, feature, features_of, fit

Row = dict[str, Any]
DRAWS = 2000
DRAWS_OF_TABLE = 300
"""Of the intervals of single measures, of which there are many."""
ROBUST = 0.4
LEAST_CLEAN = 0.5
GROUPS = ("family", "training", "data")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def counted(rows: Sequence[Row], norm: str, *, final: bool) -> tuple[list[Row], list[str]]:
    """The rows of one norm that count, the last of each model, and why others do not."""
    latest = {row["model"]: row for row in rows if row["norm"] == norm}
    kept, left_out = [], []
    for row in latest.values():
        if row["final"] != final:
            continue
        if "margin/confident" not in row["measures"]:
            left_out.append(f"{row['model']}: not measured at confident probes yet")
        elif row["clean"] < LEAST_CLEAN:
            left_out.append(f"{row['model']}: clean accuracy {row['clean']:.2f}")
        elif row["flags"]:
            left_out.append(f"{row['model']}: {', '.join(row['flags'])}")
        else:
            kept.append(row)
    return kept, left_out


def held_out_odds(rows: Sequence[Row], group: str, names: Sequence[str] | None = None) -> Floats:
    """Log odds of each row from a regression that saw no row of its family, training or data set; NaN for one group."""
    odds = np.full(len(rows), np.nan)
    values = sorted({row[group] for row in rows})
    for value in values if len(values) > 1 else []:
        rest = [row for row in rows if row[group] != value]
        places = [i for i, row in enumerate(rows) if row[group] == value]
        found = fit(rest) if names is None else fit(rest, names)
        odds[places] = found.log_odds(features_of([rows[i] for i in places], found.names))
    return odds


def score_families(rows: Sequence[Row], names: Sequence[str]) -> HeldOut:
    """How well each family is predicted from the others."""
    odds, events = held_out_odds(rows, "family", names), np.array([event(row) for row in rows])
    of_rho, of_auc = rho(odds, rows), auc(odds, events)
    return HeldOut(
        rho=(of_rho.value, of_rho.low, of_rho.high),
        auc=(of_auc.value, of_auc.low, of_auc.high),
        brier=brier(1 / (1 + np.exp(-odds.clip(-500, 500))), events).value,
        models=len(rows),
        events=int(events.sum()),
        families=len({row["family"] for row in rows}),
    )


def rho(scores: Floats, rows: Sequence[Row], draws: int = DRAWS) -> Estimate:
    """Spearman's correlation with robust accuracy at eps."""
    robust = np.array([row["robust"]["1"] for row in rows])
    return bootstrap(lambda some: spearman(scores[some].tolist(), robust[some].tolist()).rho, len(rows), draws)


def auc(scores: Floats, positive: NDArray[np.bool_], draws: int = DRAWS) -> Estimate:
    def value(some: NDArray[np.int64]) -> float:
        yes, no = scores[some][positive[some]], scores[some][~positive[some]]
        if not len(yes) or not len(no):
            return math.nan
        differences = yes[:, None] - no
        return float(((differences > 0) + (differences == 0) / 2).mean())

    return bootstrap(value, len(scores), draws)


def brier(probabilities: Floats, events: NDArray[np.bool_]) -> Estimate:
    return bootstrap(lambda some: float(((probabilities[some] - events[some]) ** 2).mean()), len(events))


def bootstrap(value: Callable[[NDArray[np.int64]], float], count: int, draws: int = DRAWS) -> Estimate:
    if count < 4:
        return Estimate(math.nan, math.nan, math.nan)
    random = np.random.default_rng(0)
    drawn = [value(random.integers(count, size=count)) for _ in range(draws)]
    known = [draw for draw in drawn if not math.isnan(draw)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (math.nan, math.nan)
    return Estimate(value(np.arange(count)), float(low), float(high))


def report(rows: Sequence[Row], norm: str, *, final: bool = False) -> str:
    """All figures of one norm as text."""
    kept, left_out = counted(rows, norm, final=final)
    if len(kept) < 8:
        return f"{norm}: {len(kept)} models count; nothing is evaluated on fewer than 8\n"
    events = np.array([event(row) for row in kept])
    robust = np.array([row["robust"]["1"] >= ROBUST for row in kept])
    lines = [
        f"## {norm}, {'final' if final else 'development'} models",
        "",
        f"n = {len(kept)}, the event in {int(events.sum())}, robust accuracy of {ROBUST} or more in "
        f"{int(robust.sum())}",
        *(f"left out: {reason}" for reason in left_out),
        "",
    ]
    if final:
        development, _ = counted(rows, norm, final=False)
        found = fit(development)
        lines += _score_lines("fitted on the development models", found.log_odds(features_of(kept, found.names)), kept)
    else:
        for group in GROUPS:
            odds = held_out_odds(kept, group)
            if np.isnan(odds).any():
                lines.append(f"one {group} left out: there is only one")
            else:
                lines += _score_lines(f"one {group} left out", odds, kept)
    return "\n".join([*lines, "", *_predictor_lines(kept, events, robust), ""])


def _score_lines(title: str, odds: Floats, rows: Sequence[Row]) -> list[str]:
    events = np.array([event(row) for row in rows])
    probabilities = 1 / (1 + np.exp(-odds.clip(-500, 500)))
    some = [i for i, row in enumerate(rows) if row["robust"]["1"] >= 0.2]
    base = np.full(len(rows), events.mean())
    return [
        f"{title}: rho {rho(odds, rows)}; AUC of the event {auc(odds, events)}; "
        f"AUC of robust accuracy {ROBUST}: {auc(odds, np.array([row['robust']['1'] >= ROBUST for row in rows]))}; "
        f"Brier {brier(probabilities, events)}, of the base rate {brier(base, events).value:.2f}; "
        f"robust models alone (n = {len(some)}): rho {rho(odds[some], [rows[i] for i in some])}",
        "  reliability: " + "; ".join(_reliability(probabilities, events)),
    ]


def _reliability(probabilities: Floats, events: NDArray[np.bool_]) -> list[str]:
    parts = []
    for low in np.arange(0, 1, 0.2):
        inside = (probabilities >= low) & ((probabilities < low + 0.2) | (low + 0.2 > 0.99))
        if inside.any():
            parts.append(
                f"{low:.1f}-{low + 0.2:.1f}: predicted {probabilities[inside].mean():.2f}, "
                f"observed {events[inside].mean():.2f}, n = {int(inside.sum())}"
            )
    return parts


def predictors(rows: Sequence[Row]) -> dict[str, Floats]:
    """Each measure by name, lengths in eps; the pair of the exploratory study, and clean accuracy."""
    names = sorted({name for row in rows for name in row["measures"]})
    found = {name: np.array([feature(row, name, 1.0) for row in rows]) for name in names}
    found = {"clean accuracy": np.array([row["clean"] for row in rows])} | found
    pair = [found[name] for name in ("margin/smooth", "local_gap/uniform")]
    found["ranks of margin/smooth and local_gap/uniform"] = np.mean(
        [np.argsort(np.argsort(np.nan_to_num(values, nan=-1e9))) for values in pair], axis=0
    )
    return found


def _predictor_lines(rows: Sequence[Row], events: NDArray[np.bool_], robust: NDArray[np.bool_]) -> list[str]:
    some = np.array([i for i, row in enumerate(rows) if row["robust"]["1"] >= 0.2], np.int64)
    lines = [
        "| measure | data | passes | n | rho | AUC, event | AUC, 0.4 | rho, robust alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, values in predictors(rows).items():
        known = np.isfinite(values)
        if known.sum() < 8 or np.ptp(values[known]) == 0:
            continue
        chosen = [rows[i] for i in known.nonzero()[0]]
        inner = some[known[some]]
        alone = rho(values[inner], [rows[i] for i in inner], DRAWS_OF_TABLE) if len(inner) >= 8 else "–"
        lines.append(
            f"| {name} | {'yes' if needs_data(name) else 'no'} | {cost_of(name)} | {len(chosen)} "
            f"| {rho(values[known], chosen, DRAWS_OF_TABLE)} "
            f"| {auc(values[known], events[known], DRAWS_OF_TABLE)} "
            f"| {auc(values[known], robust[known], DRAWS_OF_TABLE)} | {alone} |"
        )
    return lines
