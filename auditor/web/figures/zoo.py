"""A zoo: the gap of the linearized networks against robust accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records.boosts import METHOD_NAMES
from auditor.results.association import association, counted
from auditor.results.ranking import Row
from auditor.web.figures.colors import SERIES
from auditor.web.figures.scale import Scale, Tick, around

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 48


@dataclass(frozen=True)
class Point:
    """One model. ``aside``: where the name of a counter-example is written; None for others."""

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
    """``kinds`` are the series in the order of their numbers; ``statements`` are Spearman's, with intervals."""

    points: tuple[Point, ...]
    kinds: tuple[str, ...]
    by: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    statements: tuple[str, ...]
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


def zoo_plot(rows: Sequence[Row], by: str = "training") -> ZooPlot | None:
    """Rows of one setting that have a gap and a robust accuracy; None where there is no such row.

    Args:
        by: what the colours mean, ``training`` or ``architecture``.
    """
    drawn = [row for row in rows if row["gap"] is not None and row["robust_accuracy"] is not None]
    if not drawn:
        return None
    kinds = sorted({_kind(row, by) for row in drawn})
    if len(kinds) > SERIES:  # more than there are colours: the last one is for the rest
        kinds = [*kinds[: SERIES - 1], "other"]
    across = Scale(*around([row["gap"] for row in drawn], least=0.2), LEFT, WIDTH - RIGHT)
    up = Scale(-0.02, 1.02, HEIGHT - BOTTOM, TOP)
    # names of neighbours at the same height go above one another
    lifts = {number: 12 + 14 * (k % 2) for k, number in enumerate(sorted(counter_examples(drawn)))}
    points = tuple(
        Point(
            id=row["id"],
            model=row["model"],
            x=across(row["gap"]),
            y=up(row["robust_accuracy"]),
            top=up(row["robust_high"]),
            bottom=up(row["robust_low"]),
            kind=kinds.index(_kind(row, by)) if _kind(row, by) in kinds else SERIES - 1,
            flagged=bool(row["flags"]),
            aside=up(row["robust_accuracy"]) - lifts[row["id"]] if row["id"] in lifts else None,
            label=_label(row, by),
        )
        for row in drawn
    )
    return ZooPlot(points, tuple(kinds), by, across.ticks(8), up.ticks(6, scale=100), tuple(association(drawn)))


def counter_examples(rows: Sequence[Row]) -> set[int]:
    """The ids of unflagged rows whose ranks by gap and by robust accuracy are half of the zoo or more apart."""
    known = counted(rows)
    if len(known) < 4:
        return set()
    by_gap, by_robust = ({row["id"]: _rank(known, row, name) for row in known} for name in ("gap", "robust_accuracy"))
    return {number for number, rank in by_gap.items() if abs(rank - by_robust[number]) >= len(known) / 2}


def _rank(rows: Sequence[Row], row: Row, name: str) -> float:
    """Of equals, the mean rank."""
    below: int = sum(other[name] < row[name] for other in rows)
    equal: int = sum(other[name] == row[name] for other in rows)
    return below + (equal + 1) / 2


def _kind(row: Row, by: str) -> str:
    if by == "architecture":
        return str(row["architecture"] or "not recorded")
    method = row["training"].get("method")
    name = METHOD_NAMES.get(str(method), str(method) if method else "not recorded")
    return f"{name} + regularizer" if row["training"].get("beta") else name


def _label(row: Row, by: str) -> str:
    flags = f"; flagged: {', '.join(row['flags'])}" if row["flags"] else ""
    low, high = 100 * row["robust_low"], 100 * row["robust_high"]
    said = (
        f"{row['model']}: gap {row['gap']:.2f}, robust {100 * row['robust_accuracy']:.1f} % ({low:.1f} to {high:.1f})"
    )
    return f"{said}, {_kind(row, by)}{flags}".replace("-0.", "−0.")
