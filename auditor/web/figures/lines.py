"""Line plots: a model's results over time, and the epochs of a boost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.records.results import ResultRow
from auditor.results.history import has_same_scale, setting_differences
from auditor.text.numbers import number, percent
from auditor.web.figures.colors import SERIES
from auditor.web.figures.scale import Scale, Tick, around

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 30
APART = SERIES - 1
"""The colour of marks that no line joins: grey."""


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
    """One series: its name, the number of its colour, its marks, and whether a line joins them."""

    name: str
    series: int
    marks: tuple[Mark, ...]
    joined: bool = True

    @property
    def path(self) -> str:
        """The path through all marks, for the attribute ``d``; empty if they are not joined."""
        if not self.joined:
            return ""
        return " ".join(f"{'L' if k else 'M'}{mark.x} {mark.y}" for k, mark in enumerate(self.marks))


@dataclass(frozen=True)
class Lines:
    """A plot of one or more series over the same axis; ``note`` is a sentence below it, or empty."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def history(row: ResultRow, rows: Sequence[ResultRow]) -> tuple[Lines, ...]:
    """Plot robust accuracy and gap of a model's results over time; empty for fewer than two.

    A line joins the results of the setting of ``row``. Results of other settings are marks without a line, and a note
    says how they differ; those whose accuracies are of another kind are left out.
    """
    done = [(one.finished_at, one) for one in rows if one.finished_at and has_same_scale(row, one)]
    done.sort(key=lambda pair: (pair[0], pair[1].id))
    if len(done) < 2:
        return ()
    across = Scale(0, len(done) - 1, LEFT, WIDTH - RIGHT)
    nights = [
        _Night(across(k), f"{at}: ", one, setting_differences(row, one)) for k, (at, one) in enumerate(done)
    ]  # fmt: skip
    ticks = tuple(Tick(across(k), done[k][0][:10]) for k in (0, len(done) - 1))
    drawings = []
    robust = [one.robust_interval for _, one in done]
    if None not in robust:
        up = Scale(0, 1, HEIGHT - BOTTOM, TOP)
        values = [(value, low, high, f"robust {percent(value)}") for value, low, high in filter(None, robust)]
        drawings.append(_draw_history("robust accuracy, %", 0, nights, values, up, up.ticks(4, scale=100), ticks))
    gaps = [one.gap for _, one in done if one.gap is not None]
    if len(gaps) == len(done):
        up = Scale(*around(gaps, least=0.2), HEIGHT - BOTTOM, TOP)
        plain = [(gap, None, None, f"gap {number(gap, 3)}") for gap in gaps]
        drawings.append(_draw_history("gap", 1, nights, plain, up, up.ticks(4), ticks))
    return tuple(drawings)


@dataclass(frozen=True)
class _Night:
    """One result of a history: its place, its time as text, and how its setting differs."""

    x: float
    time: str
    row: ResultRow
    differences: Sequence[str]


def _draw_history(
    title: str,
    series: int,
    nights: Sequence[_Night],
    values: Sequence[tuple[float, float | None, float | None, str]],
    up: Scale,
    y_ticks: tuple[Tick, ...],
    x_ticks: tuple[Tick, ...],
) -> Lines:
    same, others = list[Mark](), list[Mark]()
    for night, (value, low, high, text) in zip(nights, values, strict=True):
        apart = f"; another setting: {', '.join(night.differences)}" if night.differences else ""
        label = f"{night.time}{text}{apart}, audit {night.row.id}"
        (others if night.differences else same).append(
            Mark(night.x, up(value), None if high is None else up(high), None if low is None else up(low), label)
        )
    lines = [Line("the setting of this audit", series, tuple(same))]
    note = ""
    if others:
        lines.append(Line("other settings, not joined", APART, tuple(others), joined=False))
        kinds = dict.fromkeys(text for night in nights for text in night.differences)
        note = f"{len(others)} of {len(nights)} results are of other settings, and not joined: {', '.join(kinds)}."
    return Lines(title, tuple(lines), x_ticks, y_ticks, note)


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
