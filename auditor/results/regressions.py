"""Describes what is worse in a result than in an earlier one of the same model and setting."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from sqlalchemy import Engine

from auditor.db.results import load_verdicts
from auditor.errors import UsageError
from auditor.records import STOPPED_EARLY
from auditor.records.results import ResultRow
from auditor.results.pairing import pair
from auditor.statistics import benjamini_hochberg, mcnemar
from auditor.text.numbers import number, percent, significant

SIGNIFICANT = 0.05
GAP_DROP = 0.1
"""A gap that is lower by more than this is worse: of the demo zoo's robust models the gaps differ by more."""


def find_regressions(
    engine: Engine, before: ResultRow, row: ResultRow, level: float = SIGNIFICANT, *, gap_drop: float | None = None
) -> Iterator[str]:
    """Failures, new flags, a robust accuracy that is lower with a p-value of at most ``level``, and a gap lower by
    more than ``gap_drop``.

    Accuracies are compared on the samples that both results share, by McNemar's exact test, one-sided.

    Raises:
        UsageError: the results share no sample.
    """
    if row.status == "failed":
        yield f"a failure: {row.reason}"
        return
    new = [flag for flag in row.flags if flag not in (*before.flags, STOPPED_EARLY)]
    if new:
        yield f"the new flag {', '.join(new)}"
    if row.robust_accuracy is not None and before.robust_accuracy is not None:
        p = regression_p_value(engine, before, row)
        if p <= level:
            accuracies = f"{percent(row.robust_accuracy)} instead of {percent(before.robust_accuracy)}"
            yield f"a robust accuracy of {accuracies} (one-sided McNemar p {significant(p, 2)})"
    if gap_drop is None or row.gap is None or before.gap is None:
        return
    if before.gap - row.gap > gap_drop:
        yield f"a gap of {number(row.gap)} instead of {number(before.gap)}"


def regression_level(engine: Engine, pairs: Sequence[tuple[ResultRow, ResultRow]]) -> float:
    """The p-value up to which a lower robust accuracy counts, so that the false-discovery rate is at most 5 %.

    ``pairs``: all models that are compared at once, each with its earlier and its present result.
    """
    p_values = []
    for before, row in pairs:
        if before.robust_accuracy is not None and row.robust_accuracy is not None:
            with suppress(UsageError):  # results that cannot be compared are no test
                p_values.append(regression_p_value(engine, before, row))
    return benjamini_hochberg(p_values, SIGNIFICANT)


def regression_p_value(engine: Engine, before: ResultRow, now: ResultRow) -> float:
    """One-sided exact McNemar p of the samples that survived before and do not now."""
    robust = pair(*((row, load_verdicts(engine, row.id)) for row in (before, now))).robust
    return mcnemar(robust.only_first, robust.only_second, one_sided=True)


def comparable(before: ResultRow, row: ResultRow) -> bool:
    """Whether two rows of a model were measured under the same conditions, on equally many images."""
    names = ("dataset", "protocol", "norm", "eps", "linearization", "sketch", "seed")
    same_number = before.n == row.n if before.n and row.n else before.samples == row.samples
    return same_number and all(getattr(before, name) == getattr(row, name) for name in names)
