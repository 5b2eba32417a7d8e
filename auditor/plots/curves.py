"""Robust accuracy at every radius, of one to five models, each with its band."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from auditor.plots.model import PALETTE
from auditor.plots.style import default_style
from auditor.records import Matrix
from auditor.text.eps import format_eps


class PlotCurve(NamedTuple):
    """One curve: its label, the audit's eps, and at ``radii (M,)`` the shares R and the ends of its band, ``(M,)``."""

    label: str
    eps: float
    radii: Matrix
    robust: Matrix
    low: Matrix
    high: Matrix


@default_style
def draw_curves(norm: str, curves: Sequence[PlotCurve]) -> Figure:
    """Draw R(ε) in percent, with dotted lines at the eps of the audits."""
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    for color, curve in zip(PALETTE, curves, strict=False):
        axes.step(curve.radii, 100 * curve.robust, where="post", color=color, linewidth=1.8, label=curve.label)
        band = (curve.radii, 100 * curve.low, 100 * curve.high)
        axes.fill_between(*band, step="post", color=color, alpha=0.15, linewidth=0)
    for eps in dict.fromkeys(curve.eps for curve in curves):
        axes.axvline(eps, color="#555555", linewidth=0.8, linestyle=":")
        axes.annotate(f"ε {format_eps(eps)}", (eps, 101), fontsize=8, color="#555555", ha="left", va="bottom")
    axes.set(
        xlim=(0, max(float(curve.radii[-1]) for curve in curves)),
        ylim=(0, 105),
        xlabel=f"radius in {norm}, in [0, 1] pixels",
        ylabel="robust accuracy, %",
    )
    axes.set_title("Robust accuracy at every radius, with bands that hold at all radii (95 %)", loc="left", fontsize=10)
    figure.legend(fontsize=8, frameon=False, loc="outside lower left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
