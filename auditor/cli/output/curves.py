"""Curves as lines of text, and as a figure."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from auditor.db.results import Detail
from auditor.results.curves import drawn_points, median_words, require_curve, summarize_curve
from auditor.text.eps import format_eps
from auditor.text.numbers import interval, p_value, percent, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curve_pairs(detail: Detail) -> Iterator[tuple[str, str]]:
    """The lines of `auditor results show`; none without a curve."""
    if detail.curve is None:
        return
    summary = summarize_curve(detail.curve, detail.row.eps)
    yield "median critical ε", f"{median_words(summary)}, {summary.norm}"
    yield (
        "area under R",
        f"{summary.area:.4g} (95 % interval {interval(summary.area_low, summary.area_high, '{:.4g}'.format)}) "
        f"up to ε {format_eps(summary.largest)}",
    )
    yield (
        "R at ε",
        ", ".join(f"{point.eps:.4g}: {percent(point.robust)}" for point in summary.points)
        + f"; band ±{100 * summary.reach:.1f} points",
    )


def comparison_pairs(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of `auditor results compare` about two curves."""
    ends = interval(found["low"], found["high"], "{:+.4g}".format)
    return [
        ("critical ε larger", f"in A on {found['larger_a']}, in B on {found['larger_b']}, ties {found['ties']}"),
        ("sign test p", p_value(found["p"], "< ")),
        (
            "area, A - B",
            f"{found['area_difference']:+.4g} (95 % interval {ends}) up to ε {format_eps(found['largest'])}",
        ),
        ("largest difference of R", f"{points(found['gap'])} points at ε {found['gap_at']:.4g}"),
    ]


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
