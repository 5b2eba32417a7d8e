"""Line plots: a model's results over time, and the epochs of a boost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.results.ranking import Row
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


def history(rows: Sequence[Row]) -> tuple[Lines, ...]:
    """Plot robust accuracy and gap of a model's audits in one setting, oldest first; empty for fewer than two."""
    done = sorted((row for row in rows if row["finished_at"]), key=lambda row: (row["finished_at"], row["id"]))
    if len(done) < 2:
        return ()
    drawings = []
    across = Scale(0, len(done) - 1, LEFT, WIDTH - RIGHT)
    dates = [row["finished_at"][:10] for row in done]
    ticks = tuple(Tick(across(k), dates[k]) for k in sorted({0, len(done) - 1}))
    if all(row["robust_accuracy"] is not None for row in done):
        up = Scale(0, 1, HEIGHT - BOTTOM, TOP)
        marks = tuple(
            Mark(
                across(k),
                up(row["robust_accuracy"]),
                up(row["robust_high"]),
                up(row["robust_low"]),
                f"{row['finished_at']}: robust {100 * row['robust_accuracy']:.1f} %, audit {row['id']}",
            )
            for k, row in enumerate(done)
        )
        drawings.append(Lines("robust accuracy, %", (Line("robust", 0, marks),), ticks, up.ticks(4, scale=100)))
    if all(row["gap"] is not None for row in done):
        up = Scale(*around([row["gap"] for row in done], least=0.2), HEIGHT - BOTTOM, TOP)
        marks = tuple(
            Mark(
                across(k), up(row["gap"]), None, None, f"{row['finished_at']}: gap {row['gap']:.3f}, audit {row['id']}"
            )
            for k, row in enumerate(done)
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
                Mark(across(number), up(value), None, None, f"epoch {number:g}: {series[name]} {value:.3f}")
                for number, epoch in zip(numbers, epochs, strict=True)
                if (value := epoch.get(name)) is not None
            ),
        )
        for k, name in enumerate(known)
    )
    whole = (Tick(tick.at, f"{float(tick.label):g}") for tick in across.ticks(6) if float(tick.label).is_integer())
    return Lines(title, lines, tuple(whole), up.ticks(4))
