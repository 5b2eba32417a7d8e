"""The zoo plot: a measure without data, such as the gap, against robust accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records.boosts import METHOD_NAMES
from auditor.records.results import MEASURES, Measure, PlotPoint, ResultRow
from auditor.results.association import NAMES, association, rankable_rows
from auditor.text.numbers import interval, number, percent, percent_number
from auditor.web.figures.colors import SERIES
from auditor.web.figures.scale import Scale, Tick, around

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 48


@dataclass(frozen=True)
class Point:
    """One model. ``aside`` is the vertical position of a counter-example's name; None for other models."""

    id: int
    model: str
    x: float
    y: float
    top: float
    bottom: float
    kind: int
    flagged: bool
    aside: float | None
    label: str


@dataclass(frozen=True)
class ZooPlot:
    """``kinds`` are the names of the series in the order of their numbers; ``statements`` report Spearman's ρ.

    ``axis`` is the title of the x axis, ``name`` the measure in a sentence.
    """

    points: tuple[Point, ...]
    kinds: tuple[str, ...]
    by: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    statements: tuple[str, ...]
    axis: str
    name: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def aside(self) -> tuple[Point, ...]:
        """The counter-examples."""
        return tuple(point for point in self.points if point.aside is not None)


def zoo_plot(rows: Sequence[ResultRow], by: str = "training", measure: Measure = "gap") -> ZooPlot | None:
    """Plot the rows of one setting that have the measure and a robust accuracy; None if no row has both.

    Args:
        by: what the colours show, ``training`` or ``architecture``.
        measure: what the x axis shows.
    """
    measured = [(row, point) for row in rows if (point := row.point(measure)) is not None]
    drawn = [row for row, _ in measured]
    if not drawn:
        return None
    kinds = sorted({_kind(row, by) for row in drawn})
    if len(kinds) > SERIES:  # the last colour is for all other kinds
        kinds = [*kinds[: SERIES - 1], "other"]
    across = Scale(
        *around([point.x for _, point in measured], least=0.02 if measure == "margin" else 0.2), LEFT, WIDTH - RIGHT
    )
    up = Scale(-0.02, 1.02, HEIGHT - BOTTOM, TOP)
    # alternate the height of names, so that neighbours do not overlap
    lifts = {number: 12 + 14 * (k % 2) for k, number in enumerate(sorted(counter_examples(drawn, measure)))}
    points = tuple(
        Point(
            id=row.id,
            model=row.model,
            x=across(point.x),
            y=up(point.robust),
            top=up(point.high),
            bottom=up(point.low),
            kind=kinds.index(_kind(row, by)) if _kind(row, by) in kinds else SERIES - 1,
            flagged=bool(row.flags),
            aside=up(point.robust) - lifts[row.id] if row.id in lifts else None,
            label=_label(row, point, by, measure),
        )
        for row, point in measured
    )
    statements = tuple(association(drawn, measure))
    ticks = across.ticks(8), up.ticks(6, scale=100)
    return ZooPlot(points, tuple(kinds), by, *ticks, statements, MEASURES[measure], NAMES[measure])


def counter_examples(rows: Sequence[ResultRow], measure: Measure = "gap") -> set[int]:
    """Return the IDs of unflagged rows whose ranks by measure and robust accuracy differ by half of the zoo or more."""
    known = rankable_rows(rows, measure=measure)
    if len(known) < 4:
        return set()
    points = [point for row in known if (point := row.point(measure)) is not None]
    ranks = zip(_ranks([point.x for point in points]), _ranks([point.robust for point in points]), strict=True)
    return {row.id for row, (x, robust) in zip(known, ranks, strict=True) if abs(x - robust) >= len(known) / 2}


def _ranks(values: list[float]) -> list[float]:
    """The rank of each value from 1 on; equal values get their mean rank."""
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


def _kind(row: ResultRow, by: str) -> str:
    if by == "architecture":
        return str(row.architecture or "not recorded")
    method = row.training.get("method")
    name = METHOD_NAMES.get(str(method), str(method) if method else "not recorded")
    return f"{name} + regularizer" if row.training.get("beta") else name


def _label(row: ResultRow, point: PlotPoint, by: str, measure: Measure) -> str:
    flags = f"; flagged: {', '.join(row.flags)}" if row.flags else ""
    robust = f"robust {percent(point.robust)} ({interval(point.low, point.high, percent_number)})"
    x = number(point.x, 3 if measure == "margin" else 2)
    return f"{row.model}: {NAMES[measure]} {x}, {robust}, {_kind(row, by)}{flags}".replace("-0.", "−0.")
