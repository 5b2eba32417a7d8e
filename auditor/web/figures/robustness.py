"""Robust accuracy at every radius: the curves of one to five audits, each with its band."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.db.results import Detail
from auditor.results.curves import drawn_points, median_words, summarize_curve
from auditor.text.eps import format_eps
from auditor.text.numbers import percent
from auditor.web.figures.scale import Scale, Tick

WIDTH, HEIGHT = 620, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 22, 44


@dataclass(frozen=True)
class CurveLine:
    """One curve: ``path`` and ``band`` are the attributes ``d`` of its line and of the area of its band."""

    name: str
    series: int
    path: str
    band: str
    label: str


@dataclass(frozen=True)
class CurvePlot:
    """The curves over one axis. ``marks``: the eps of the audits; ``label`` says in words what the plot shows."""

    lines: tuple[CurveLine, ...]
    marks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str
    label: str
    y_title: str = "robust accuracy, %"
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def curve_plot(named: Sequence[tuple[str, Detail]]) -> CurvePlot | None:
    """Draw the curves of these audits; those without a curve are left out. None if none is left, or norms differ."""
    known = [(series, name, one) for series, (name, one) in enumerate(named) if one.curve is not None]
    norms = {one.row.norm for _, _, one in known}
    if len(norms) != 1:
        return None
    across = Scale(0, max(one.curve.largest for _, _, one in known if one.curve), LEFT, WIDTH - RIGHT)
    up = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    lines = tuple(_draw(series, name, one, across, up) for series, name, one in known)
    radii = dict.fromkeys(one.row.eps for _, _, one in known)
    return CurvePlot(
        lines=lines,
        marks=tuple(Tick(across(eps), f"ε {format_eps(eps)}") for eps in radii),
        x_ticks=across.ticks(8),
        y_ticks=up.ticks(5, scale=100),
        x_title=f"radius in {norms.pop()}, in [0, 1] pixels",
        label="Robust accuracy at every radius. " + " ".join(line.label for line in lines),
    )


def _draw(series: int, name: str, detail: Detail, across: Scale, up: Scale) -> CurveLine:
    assert detail.curve is not None
    drawn, summary = drawn_points(detail.curve), summarize_curve(detail.curve, detail.row.eps)
    points = ", ".join(f"{percent(point.robust)} at {point.eps:.4g}" for point in summary.points)
    words = f"{name}: median critical ε {median_words(summary)}; {points}."
    top = _steps(drawn.radii.tolist(), drawn.high.tolist(), across, up)
    low = _steps(drawn.radii.tolist(), drawn.low.tolist(), across, up)
    return CurveLine(
        name=name,
        series=series,
        path="M" + " L".join(_steps(drawn.radii.tolist(), drawn.robust.tolist(), across, up)),
        band="M" + " L".join([*top, *reversed(low)]) + " Z",
        label=words,
    )


def _steps(radii: Sequence[float], values: Sequence[float], across: Scale, up: Scale) -> list[str]:
    """The corners of a step function that holds each value until the next radius; equal neighbours are one step."""
    corners = [f"{across(radii[0])} {up(values[0])}"]
    for k in range(1, len(radii)):
        if values[k] != values[k - 1]:
            corners += [f"{across(radii[k])} {up(values[k - 1])}", f"{across(radii[k])} {up(values[k])}"]
    return [*corners, f"{across(radii[-1])} {up(values[-1])}"]
