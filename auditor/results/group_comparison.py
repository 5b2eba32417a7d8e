"""Compares two to five results: which settings differ, paired tests of every two, and what only one withstands."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from sqlalchemy import Engine

from auditor.db.results import Detail, load_detail
from auditor.errors import UsageError
from auditor.records.comparisons import Comparison
from auditor.records.corruptions import is_corruptions
from auditor.records.results import ResultRow
from auditor.results.comparison import compare_details, find_verdict, parse_name
from auditor.results.lookup import find_rows
from auditor.results.pairing import find_obstacle
from auditor.statistics import holm
from auditor.text.eps import format_eps

MOST = 5
LETTERS = "ABCDE"
_SETTINGS = {
    "data set": "dataset", "protocol": "protocol", "norm": "norm", "ε": "eps", "number of images": "n",
    "digest of the images": "images_sha256", "seed": "seed", "batch norm": "linearization", "sketch of C": "sketch",
    "beyond the protocol": "extra_attacks",
}  # fmt: skip


@dataclass(frozen=True)
class PairComparison:
    """Two of the compared results, by position. ``found``: their comparison; None if there is an ``obstacle``.

    ``adjusted``: the p-values of the robust and the clean accuracy, adjusted by Holm's method over all pairs.
    """

    first: int
    second: int
    found: Comparison | None
    obstacle: str | None
    adjusted: dict[str, float]


@dataclass(frozen=True)
class GroupComparison:
    """``differences``: the settings that differ, with the value of each result; ``shared``: how many samples all share.

    ``only``: for each result the samples that it alone withstands; None if not all pairs can be compared.
    """

    details: tuple[Detail, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[PairComparison, ...]
    shared: int
    only: tuple[tuple[int, ...], ...] | None


def compare_group(engine: Engine, names: Sequence[str]) -> GroupComparison:
    """Compare the results of two to five names, which are models or ``NAME@ID``.

    Raises:
        NotFoundError: there is no such result.
        UsageError: fewer than two names, more than five, or one result twice.
    """
    if not 2 <= len(names) <= MOST:
        raise UsageError(f"expected 2 to {MOST} models, got {len(names)}")
    details = tuple(load_detail(engine, row.id) for row in _choose(engine, names))
    pairs = _compare_pairs(details)
    comparable = all(pair.found for pair in pairs)
    shared, only = _find_only(details) if comparable else (0, None)
    if is_corruptions(details[0].row.norm):
        only = None  # an image is right under some of its corruptions
    return GroupComparison(details, tuple(_find_differences([one.row for one in details])), pairs, shared, only)


def _choose(engine: Engine, names: Sequence[str]) -> list[ResultRow]:
    """For each name a result that fits to those before it, if there is one; of several the best."""
    options = [find_rows(engine, name, None, number) for name, number in map(parse_name, names)]
    chosen = max(
        (_extend(first, options[1:]) for first in options[0]),
        key=lambda rows: (
            sum(find_obstacle(a, b) is None for a, b in itertools.combinations(rows, 2)),
            not any(is_corruptions(row.norm) for row in rows),
            min(row.n or 0 for row in rows),
        ),
    )
    for a, b in itertools.combinations(range(len(chosen)), 2):
        if chosen[a].id == chosen[b].id:
            raise UsageError(f"{names[a]} and {names[b]} are the same result; name two, for example as NAME@ID")
    return chosen


def _extend(first: ResultRow, options: Sequence[Sequence[ResultRow]]) -> list[ResultRow]:
    chosen = [first]
    for rows in options:
        fitting = (row for row in rows if all(find_obstacle(row, one) is None for one in chosen))
        others = (row for row in rows if row.id not in {one.id for one in chosen})
        chosen.append(next(fitting, None) or next(others, rows[0]))
    return chosen


def _compare_pairs(details: Sequence[Detail]) -> tuple[PairComparison, ...]:
    places = list(itertools.combinations(range(len(details)), 2))
    outcomes: list[Comparison | str] = []
    for first, second in places:
        try:
            outcomes.append(compare_details(details[first], details[second]))
        except UsageError as error:
            outcomes.append(str(error))
    tested = [one for one in outcomes if isinstance(one, Comparison)]
    adjusted = {
        "robust": holm([one.robust.p_value for one in tested]),
        "clean": holm([one.clean.p_value for one in tested]),
    }
    pairs, k = [], 0
    for (first, second), outcome in zip(places, outcomes, strict=True):
        if isinstance(outcome, str):
            pairs.append(PairComparison(first, second, None, outcome, {}))
            continue
        p_values = {share: values[k] for share, values in adjusted.items()}
        letters = LETTERS[first], LETTERS[second]
        if len(details) > 2:
            best, verdict = find_verdict(outcome.a, outcome.b, outcome.robust, p_values["robust"], letters)
            outcome = replace(outcome, more_robust=best, verdict=verdict)
        pairs.append(PairComparison(first, second, outcome, None, p_values))
        k += 1
    return tuple(pairs)


def _find_only(details: Sequence[Detail]) -> tuple[int, tuple[tuple[int, ...], ...] | None]:
    """The number of samples that all results share, and those that only one of them withstands."""
    verdicts = [one.verdicts for one in details if one.verdicts is not None]
    shared = reduce(np.intersect1d, [one.indices for one in verdicts])
    survived = []
    for one in verdicts:
        order = np.argsort(one.indices)
        survived.append(one.survived[order][np.searchsorted(one.indices[order], shared)])
    alone = np.sum(survived, axis=0) == 1
    return len(shared), tuple(tuple(shared[alone & mine].tolist()) for mine in survived)


def _find_differences(rows: Sequence[ResultRow]) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for name, field in _SETTINGS.items():
        values = [_describe(field, getattr(row, field)) for row in rows]
        if len(set(values)) > 1 and not (field == "images_sha256" and len({row.n for row in rows}) > 1):
            found.append((name, tuple(values)))
    return found


def _describe(field: str, value: Any) -> str:
    if field == "images_sha256":
        return str(value)[:12] if value else "not recorded"
    if field == "eps":
        return format_eps(value) if value else "none"
    if field == "linearization":
        return {"remove": "removed", "fold": "folded"}.get(value, str(value))
    if field == "sketch":
        return "exact" if value is None else f"{value} probes"
    return "–" if value is None else str(value)
