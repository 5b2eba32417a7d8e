"""Describes what is worse in a result than in an earlier one of the same model and setting."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from sqlalchemy import Engine

from auditor.attacks.sequential import e_value_of_regression
from auditor.db.corruptions import load_shares
from auditor.db.curves import load_curve
from auditor.db.results import load_verdicts
from auditor.errors import UsageError
from auditor.records import STOPPED_EARLY
from auditor.records.corruptions import is_corruptions
from auditor.records.results import ResultRow
from auditor.results.corruptions import TEST, pair_shares
from auditor.results.curves import count_larger, find_other_search, paired_sizes
from auditor.results.pairing import pair
from auditor.statistics import Paired, benjamini_hochberg, e_benjamini_hochberg, mcnemar
from auditor.text.numbers import number, percent, significant

SIGNIFICANT = 0.05
GAP_DROP = 0.1
"""A gap that is lower by more than this is worse: of the demo zoo's robust models the gaps differ by more."""


def find_regressions(
    engine: Engine,
    before: ResultRow,
    row: ResultRow,
    level: float = SIGNIFICANT,
    *,
    gap_drop: float | None = None,
    e_level: float | None = None,
) -> Iterator[str]:
    """Failures, new flags, a robust accuracy that is lower with a p-value of at most ``level``, critical radii that
    are smaller with such a p-value, and a gap lower by more than ``gap_drop``.

    Accuracies are compared on the samples that both results share, by McNemar's exact test, or for corruptions by a
    paired t-test, one-sided. With ``e_level`` they are compared by a bet, whose capital is an e-value, and reported
    from this e-value on: that is valid for audits that may stop early.

    Raises:
        UsageError: the results share no sample.
    """
    if row.status == "failed":
        yield f"a failure: {row.reason}"
        return
    new = [flag for flag in row.flags if flag not in (*before.flags, STOPPED_EARLY)]
    if new:
        yield f"the new flag {', '.join(new)}"
    if e_level is not None and row.robust_accuracy is not None and before.robust_accuracy is not None:
        robust = _pair(engine, before, row)
        if e_value_of_regression(robust.only_first, robust.only_second) >= e_level:
            yield (
                f"a lower robust accuracy: of {robust.n} images, {robust.only_first} are broken that survived then, "
                f"and {robust.only_second} survive that were broken"
            )
    elif row.robust_accuracy is not None and before.robust_accuracy is not None:
        p = regression_p_value(engine, before, row)
        if p <= level:
            test = TEST if is_corruptions(row.norm) else "McNemar"
            accuracies = f"{percent(row.robust_accuracy)} instead of {percent(before.robust_accuracy)}"
            yield f"a robust accuracy of {accuracies} (one-sided {test} p {significant(p, 2)})"
    p_curve = None if e_level is not None else curve_p_value(engine, before, row)
    if p_curve is not None and p_curve <= level:
        test = f"one-sided sign test p {significant(p_curve, 2)}"
        yield f"a smaller critical radius on more samples than a larger one ({test})"
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
                p_curve = curve_p_value(engine, before, row)
                p_values += [] if p_curve is None else [p_curve]
    return benjamini_hochberg(p_values, SIGNIFICANT)


def sequential_level(engine: Engine, pairs: Sequence[tuple[ResultRow, ResultRow]]) -> float:
    """The e-value from which a lower robust accuracy counts, so that the false-discovery rate is at most 5 %.

    Of audits that may stop early, by e-BH, whatever the dependence of the models. ``pairs``: as for
    :func:`regression_level`.
    """
    e_values = []
    for before, row in pairs:
        if before.robust_accuracy is not None and row.robust_accuracy is not None:
            with suppress(UsageError):  # results that cannot be compared are no test
                robust = _pair(engine, before, row)
                e_values.append(e_value_of_regression(robust.only_first, robust.only_second))
    return e_benjamini_hochberg(e_values, SIGNIFICANT)


def regression_p_value(engine: Engine, before: ResultRow, now: ResultRow) -> float:
    """One-sided p of a lower robust accuracy on the same samples.

    McNemar's exact p of the samples that survived before and do not now; for corruptions, under which an image is right
    more or less often, that of the paired t-test.
    """
    if is_corruptions(now.norm):
        first, second = ((row, load_verdicts(engine, row.id), load_shares(engine, row.id)) for row in (before, now))
        return pair_shares(first, second).p_lower
    robust = _pair(engine, before, now)
    return mcnemar(robust.only_first, robust.only_second, one_sided=True)


def _pair(engine: Engine, before: ResultRow, now: ResultRow) -> Paired:
    return pair(*((row, load_verdicts(engine, row.id)) for row in (before, now))).robust


def curve_p_value(engine: Engine, before: ResultRow, now: ResultRow) -> float | None:
    """One-sided p of the sign test that critical radii became smaller; None unless both have a curve of one search."""
    curve, curve_now = (load_curve(engine, row.id) for row in (before, now))
    if curve is None or curve_now is None or find_other_search(curve, curve_now):
        return None
    verdicts, verdicts_now = (load_verdicts(engine, row.id) for row in (before, now))
    if verdicts is None or verdicts_now is None:
        return None
    sizes, sizes_now, _ = paired_sizes((curve, verdicts.indices), (curve_now, verdicts_now.indices))
    return mcnemar(count_larger(sizes, sizes_now), count_larger(sizes_now, sizes), one_sided=True)


def find_uncompared_curves(engine: Engine, before: ResultRow, now: ResultRow) -> str | None:
    """Why the curves of two results were not compared, in one line; None if they were, or if one has none."""
    return find_other_search(*(load_curve(engine, row.id) for row in (before, now)))


def stopped_early(before: ResultRow, row: ResultRow) -> bool:
    """Whether one of two rows has the images of an early stop: their number depends on the verdicts, so that tests of a
    fixed number of images are not valid."""
    return STOPPED_EARLY in (*before.flags, *row.flags)


def comparable(before: ResultRow, row: ResultRow) -> bool:
    """Whether two rows of a model were measured under the same conditions, on equally many images."""
    names = ("dataset", "protocol", "norm", "eps", "linearization", "sketch", "seed", "extra_attacks")
    same_number = before.n == row.n if before.n and row.n else before.samples == row.samples
    return same_number and all(getattr(before, name) == getattr(row, name) for name in names)
