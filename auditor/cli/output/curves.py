"""From stored curves to their figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditor.db.results import Detail
from auditor.results.curves import drawn_points, median_words, require_curve, summarize_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves_figure(details: Sequence[Detail]) -> "Figure":
    """The curves of one to five results.

    Raises:
        UsageError: one has no curve, or the norms or data sets differ.
    """
    from auditor.errors import UsageError
    from auditor.plots import PlotCurve, draw_curves

    for name in ("norm", "dataset"):
        if len(values := dict.fromkeys(getattr(detail.row, name) for detail in details)) > 1:
            raise UsageError(f"expected results of one {name}, got {', '.join(values)}")
    drawn = []
    for detail in details:
        row, curve = detail.row, require_curve(detail.row, detail.curve)
        summary = summarize_curve(curve, row.eps)
        label = f"{row.model}@{row.id}: median critical ε {median_words(summary)}, n = {summary.n}"
        drawn.append(PlotCurve(label, row.eps, **vars(drawn_points(curve))))
    return draw_curves(details[0].row.norm, drawn)
