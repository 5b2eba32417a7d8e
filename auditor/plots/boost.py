"""One fine-tuning run: its validation curves, and C before and after."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from auditor.plots.model import PALETTE, draw_part
from auditor.plots.style import default_style
from auditor.records import Clustering

PRUNED = "pruned from the database;\n`auditor scan … --force` measures it again"
NOT_MEASURED = "not measured"


@default_style
def draw_boost(
    title: str,
    subtitle: str,
    history: Sequence[dict[str, Any]],
    best: int,
    before: Clustering | None,
    after: Clustering | None,
    classes: Sequence[str] = (),
    superclasses: Sequence[str] = (),
) -> Figure:
    """Draw accuracies, gap and loss by epoch, mark the epoch ``best``, and draw C before and after.

    Args:
        history: epochs as dicts of :class:`auditor.records.boosts.EpochScore`; NaN may be None.
        before, after: the clusterings of the weights; a text replaces one that was pruned, or None.
        classes, superclasses: K names each; may be empty if there is no matrix.
    """
    has_matrices = any(part is not None for part in (before, after))
    figure = Figure(figsize=(13.2, 12.4 if has_matrices else 5.2), layout="constrained")
    heights = (1.6, 4, 8.4) if has_matrices else (1.6, 4)
    head, curves, *rest = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    head.text(0.01, 0.8, title, ha="left", va="center", fontsize=16, fontweight="bold")
    head.text(0.01, 0.28, textwrap.fill(subtitle, 175), ha="left", va="center", fontsize=9.5, color="#555555")
    _draw_curves(curves.subplots(1, 3), history, best)
    for body in rest:
        pair = body.subfigures(1, 2, squeeze=False)[0]
        for column, part, when in zip(pair, (before, after), ("before", "after"), strict=True):
            _draw_c(column, part, when, classes, superclasses)
    return figure


def _draw_curves(panels: Sequence[Axes], history: Sequence[dict[str, Any]], best: int) -> None:
    accuracies, gap, loss = panels
    _draw_curve(accuracies, history, "clean_accuracy", PALETTE[0], "clean", 100)
    _draw_curve(accuracies, history, "pgd_accuracy", PALETTE[1], "PGD", 100)
    _draw_curve(gap, history, "gap", PALETTE[2])
    _draw_curve(loss, history, "loss", PALETTE[5])
    accuracies.set_ylim(-3, 103)
    for axes, name in zip(
        panels, ("validation accuracy, %", "gap of the linearized network", "training loss"), strict=True
    ):
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("epoch; 0 is the parent", fontsize=9)
        axes.axvline(best, color="#555555", linewidth=1, linestyle=":")
        axes.set_xlim(-0.3, max((one["number"] for one in history), default=0) + 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    accuracies.plot([], [], color="#555555", linewidth=1, linestyle=":", label=f"best: epoch {best}")
    accuracies.legend(frameon=False, fontsize=8.5, loc="best")


def _draw_curve(
    axes: Axes, history: Sequence[dict[str, Any]], key: str, color: str, label: str | None = None, scale: float = 1
) -> None:
    """Draw a curve with breaks at NaN; a panel without any value shows a text instead."""
    values = [math.nan if one[key] is None else scale * one[key] for one in history]
    axes.plot([one["number"] for one in history], values, "o-", markersize=4, color=color, label=label)
    if not any(math.isfinite(value) for value in values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, NOT_MEASURED, transform=axes.transAxes, ha="center", va="center", color="#555555")


def _draw_c(
    figure: Any, part: Clustering | None, when: str, classes: Sequence[str], superclasses: Sequence[str]
) -> None:
    if part is not None and part.matrix is not None:
        draw_part(figure, part, classes, superclasses, f"{when}: ")
        return
    axes = figure.subplots()
    axes.set_axis_off()
    words = f"C {when}: {NOT_MEASURED if part is None else PRUNED}"
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=11, color="#555555")
