"""The rank correlation of gap and robust accuracy, for the line under each leaderboard."""

import math
from collections.abc import Sequence

from auditor.records.results import ResultRow
from auditor.results.ranking import setting_of
from auditor.text.numbers import estimate


def rankable_rows(rows: Sequence[ResultRow], *, regularized: bool = True) -> list[ResultRow]:
    """Unflagged rows with a gap and a robust accuracy; ``regularized=False`` leaves out regularized models."""
    return [
        row
        for row in rows
        if row.status == "done"
        and not row.flags
        and row.gap_and_accuracy is not None
        and (regularized or not row.training.get("beta"))
    ]


def association(rows: Sequence[ResultRow]) -> list[str]:
    """Spearman's rho of gap and robust accuracy over the unflagged rows, with and without regularized models."""
    from auditor.clustering.association import spearman

    unflagged, plain = rankable_rows(rows), rankable_rows(rows, regularized=False)
    groups = {"all unflagged models": unflagged}
    if len(plain) < len(unflagged):
        groups["without those trained with the regularizer"] = plain
    statements = []
    for words, models in groups.items():
        if len(models) > 3:
            points = [row.gap_and_accuracy for row in models if row.gap_and_accuracy is not None]
            found = spearman([point.gap for point in points], [point.robust for point in points])
            value = estimate(found.rho, found.low, found.high, f", n = {found.n}")
            if math.isnan(found.rho):
                value = f"not defined, because one of the two is the same for all models (n = {found.n})"
            statements.append(f"Spearman's ρ of gap and robust accuracy, {words}: {value}")
    return statements


def association_of_one_setting(rows: Sequence[ResultRow]) -> list[str]:
    """The statements if all rows share one setting, else none: numbers of different settings are not comparable."""
    return association(rows) if len({setting_of(row) for row in rows if row.status == "done"}) == 1 else []
