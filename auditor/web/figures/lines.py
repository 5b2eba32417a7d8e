"""Line plots: a model's results over time, and the epochs of a boost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.records.results import ResultRow
from auditor.text.numbers import number, percent
from auditor.web.figures.scale import Scale, Tick, around

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 30


@dataclass(frozen=True)
class Mark:
    """One value of a line; ``top`` and ``bottom`` are the ends of its interval, or None."""

    x: float
    y: float
    top: float | None
    bottom: float | None
    label: str


@dataclass(frozen=True)
class Line:
    """One series: its name, the number of its colour, and its marks."""

    name: str
    series: int
    marks: tuple[Mark, ...]

    @property
    def path(self) -> str:
        """The path through all marks, for the attribute ``d``."""
        return " ".join(f"{'L' if k else 'M'}{mark.x} {mark.y}" for k, mark in enumerate(self.marks))


@dataclass(frozen=True)
class Lines:
    """A plot of one or more series over the same axis."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def history(rows: Sequence[ResultRow]) -> tuple[Lines, ...]:
    """Plot robust accuracy and gap of a model's audits in one setting, oldest first; empty for fewer than two."""
    done = [(row, row.finished_at) for row in rows if row.finished_at]
    done.sort(key=lambda one: (one[1], one[0].id))
    if len(done) < 2:
        return ()
    drawings = []
    across = Scale(0, len(done) - 1, LEFT, WIDTH - RIGHT)
    dates = [finished_at[:10] for _, finished_at in done]
    ticks = tuple(Tick(across(k), dates[k]) for k in sorted({0, len(done) - 1}))
    robust = [(row, finished_at, row.robust_interval) for row, finished_at in done if row.robust_interval is not None]
    if len(robust) == len(done):
        up = Scale(0, 1, HEIGHT - BOTTOM, TOP)
        marks = tuple(
            Mark(
                across(k),
                up(value),
                up(high),
                up(low),
                f"{finished_at}: robust {percent(value)}, audit {row.id}",
            )
            for k, (row, finished_at, (value, low, high)) in enumerate(robust)
        )
        drawings.append(Lines("robust accuracy, %", (Line("robust", 0, marks),), ticks, up.ticks(4, scale=100)))
    gaps = [row.gap for row, _ in done if row.gap is not None]
    if len(gaps) == len(done):
        up = Scale(*around(gaps, least=0.2), HEIGHT - BOTTOM, TOP)
        marks = tuple(
            Mark(across(k), up(gap), None, None, f"{finished_at}: gap {number(gap, 3)}, audit {row.id}")
            for k, ((row, finished_at), gap) in enumerate(zip(done, gaps, strict=True))
        )
        drawings.append(Lines("gap", (Line("gap", 1, marks),), ticks, up.ticks(4)))
    return tuple(drawings)


def curves(epochs: Sequence[Mapping[str, float | None]], series: Mapping[str, str], title: str) -> Lines | None:
    """Plot values by epoch; ``series`` maps fields of an epoch to names. None if no epoch has a value."""
    known = [name for name in series if any(epoch.get(name) is not None for epoch in epochs)]
    if not known or len(epochs) < 2:
        return None
    numbers = [float(epoch.get("number") or k) for k, epoch in enumerate(epochs)]
    across = Scale(numbers[0], numbers[-1], LEFT, WIDTH - RIGHT)
    values = [value for name in known for epoch in epochs if (value := epoch.get(name)) is not None]
    up = Scale(*around(values, least=0.1), HEIGHT - BOTTOM, TOP)
    lines = tuple(
        Line(
            series[name],
            k,
            tuple(
                Mark(across(at), up(value), None, None, f"epoch {at:g}: {series[name]} {number(value, 3)}")
                for at, epoch in zip(numbers, epochs, strict=True)
                if (value := epoch.get(name)) is not None
            ),
        )
        for k, name in enumerate(known)
    )
    whole = (Tick(tick.at, f"{float(tick.label):g}") for tick in across.ticks(6) if float(tick.label).is_integer())
    return Lines(title, lines, tuple(whole), up.ticks(4))
