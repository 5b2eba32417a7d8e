"""A whole zoo: a measure without data, such as the gap, against robust accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from auditor.plots.model import PALETTE
from auditor.plots.style import default_style
from auditor.records.certificates import NO_BOUND


@dataclass(frozen=True)
class ZooPoint:
    """One model: its name and training, a measure, robust accuracy with interval, its flags, and what is certified."""

    name: str
    kind: str
    x: float
    robust: float
    low: float
    high: float
    flagged: bool
    certified: float | None = None


@default_style
def draw_zoo(title: str, statement: str, axis: str, points: Sequence[ZooPoint]) -> Figure:
    """A measure against robust accuracy with 95 % intervals; flagged models hollow; dotted lines to what is certified.

    Args:
        statement: the subtitle.
        axis: what the measure is.
    """
    figure = Figure(figsize=(9.5, 6.4), layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys(sorted(point.kind for point in points)))
    for number, kind in enumerate(kinds):
        color = PALETTE[number % len(PALETTE)]
        for point in (point for point in points if point.kind == kind):
            axes.errorbar(
                point.x,
                100 * point.robust,
                yerr=[[100 * (point.robust - point.low)], [100 * (point.high - point.robust)]],
                fmt="o",
                markersize=9,
                color=color,
                markerfacecolor="white" if point.flagged else color,
                elinewidth=1.2,
                capsize=3,
            )
            if point.certified is not None:
                axes.vlines(
                    point.x, 100 * point.certified, 100 * point.robust, color=color, linestyle=":", linewidth=1.4
                )
                axes.plot(point.x, 100 * point.certified, "^", color=color, markersize=6)
        axes.plot([], [], "o", color=color, label=kind)
    if any(point.flagged for point in points):
        axes.plot([], [], "o", color="#555555", markerfacecolor="white", label="flagged, unranked")
    certified = [point.certified for point in points if point.certified is not None]
    if certified:
        axes.plot([], [], "^:", color="#555555", markersize=6, label="certified, the lower end")
    if 0 in certified:
        statement += f"\ncertified 0: {NO_BOUND}"
    axes.set_xlabel(axis)
    axes.set_ylabel("robust accuracy, %  (95 % Wilson interval)")
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=12 + 13 * len(statement.splitlines()))
    axes.text(0, 1.015, statement, transform=axes.transAxes, fontsize=9, color="#555555")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(-8, 104)
    axes.margins(x=0.15)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _name_points(figure, axes, points)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def _name_points(figure: Figure, axes: Axes, points: Sequence[ZooPoint]) -> None:
    """A label beside each point, moved to where it covers no other label and no point."""
    figure.draw_without_rendering()
    taken = [axes.transData.transform((point.x, 100 * point.robust)) for point in points]
    boxes: list[tuple[float, float, float, float]] = [(x - 7, y - 7, x + 7, y + 7) for x, y in taken]
    for point, (x, y) in zip(points, taken, strict=True):
        width, height = 6.2 * len(point.name) * figure.dpi / 100, 12 * figure.dpi / 100
        for dx, dy in _PLACES:
            left = x + dx if dx > 0 else x + dx - width if dx < 0 else x - width / 2
            box = (left, y + dy - height / 2, left + width, y + dy + height / 2)
            if not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        scale = 72 / figure.dpi
        axes.annotate(
            point.name,
            (point.x, 100 * point.robust),
            ((box[0] - x) * scale, dy * scale),
            textcoords="offset points",
            fontsize=8,
            va="center",
            color="#333333",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6} if abs(dy) > 20 else None,
        )


_PLACES = tuple((side * 10, dy) for dy in (0, 14, -14, 28, -28, 42, -42, 56, -56, 70, -70) for side in (1, -1))


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
