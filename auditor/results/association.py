"""The rank correlation of a measure, such as the gap, and robust accuracy, for the line under each leaderboard."""

import math
from collections.abc import Sequence

from auditor.records.results import Measure, ResultRow
from auditor.results.ranking import setting_of
from auditor.text.numbers import estimate

NAMES: dict[Measure, str] = {
    "gap": "gap", "screen_score": "screening score", "margin": "margin", "local_gap": "local gap",
}  # fmt: skip


def rankable_rows(rows: Sequence[ResultRow], *, measure: Measure = "gap", regularized: bool = True) -> list[ResultRow]:
    """Unflagged rows with this measure and a robust accuracy; ``regularized=False`` leaves out regularized models."""
    return [
        row
        for row in rows
        if row.status == "done"
        and not row.flags
        and row.point(measure) is not None
        and (regularized or not row.training.get("beta"))
    ]


def association(rows: Sequence[ResultRow], measure: Measure = "gap") -> list[str]:
    """Spearman's rho of a measure and robust accuracy over the unflagged rows, with and without regularized models."""
    from auditor.clustering.association import spearman

    unflagged = rankable_rows(rows, measure=measure)
    plain = rankable_rows(rows, measure=measure, regularized=False)
    groups = {"all unflagged models": unflagged}
    if len(plain) < len(unflagged):
        groups["without those trained with the regularizer"] = plain
    statements = []
    for words, models in groups.items():
        if len(models) > 3:
            points = [point for row in models if (point := row.point(measure)) is not None]
            found = spearman([point.x for point in points], [point.robust for point in points])
            value = estimate(found.rho, found.low, found.high, f", n = {found.n}")
            if math.isnan(found.rho):
                value = f"not defined, because one of the two is the same for all models (n = {found.n})"
            statements.append(f"Spearman's ρ of {NAMES[measure]} and robust accuracy, {words}: {value}")
    return statements


def association_of_one_setting(rows: Sequence[ResultRow]) -> list[str]:
    """The statements of gap and screening score; none unless all rows share one setting, for numbers of different
    settings are not comparable."""
    if len({setting_of(row) for row in rows if row.status == "done"}) != 1:
        return []
    return association(rows) + association(rows, "screen_score")
