"""The rank correlation of a measure, such as the gap, and robust accuracy, for the line under each leaderboard."""

import math
from collections.abc import Sequence

from auditor.records.results import MEASURES, Measure, PlotModel, ResultRow
from auditor.results.measures import PLOTTED
from auditor.results.ranking import setting_of
from auditor.text.numbers import estimate

NAMES: dict[Measure, str] = {measure: PLOTTED[measure].name for measure in MEASURES}


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
    models = (row.plot_model(measure, "robust_accuracy") for row in rankable_rows(rows, measure=measure))
    return describe_association([one for one in models if one is not None], NAMES[measure])


def describe_association(models: Sequence[PlotModel], x: str, y: str = "robust accuracy") -> list[str]:
    """Spearman's rho of two measures, named ``x`` and ``y``, over the unflagged models, as :func:`association` does."""
    from auditor.clustering.association import spearman

    unflagged = [one for one in models if not one.flags]
    plain = [one for one in unflagged if not one.regularized]
    groups = {"all unflagged models": unflagged}
    if len(plain) < len(unflagged):
        groups["without those trained with the regularizer"] = plain
    statements = []
    for words, group in groups.items():
        if len(group) > 3:
            found = spearman([one.x for one in group], [one.y for one in group])
            value = estimate(found.rho, found.low, found.high, f", n = {found.n}")
            if math.isnan(found.rho):
                value = f"not defined, because one of the two is the same for all models (n = {found.n})"
            statements.append(f"Spearman's ρ of {x} and {y}, {words}: {value}")
    return statements


def association_of_one_setting(rows: Sequence[ResultRow]) -> list[str]:
    """The statements of gap and screening score; none unless all rows share one setting, for numbers of different
    settings are not comparable."""
    if len({setting_of(row) for row in rows if row.status == "done"}) != 1:
        return []
    return association(rows) + association(rows, "screen_score")
