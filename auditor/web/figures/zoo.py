"""The zoo plot: one measure of each model against another, such as the gap against robust accuracy."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from auditor.records.boosts import METHOD_NAMES
from auditor.records.certificates import NO_BOUND
from auditor.records.results import PlotModel, ResultRow
from auditor.results.association import describe_association
from auditor.results.counter_examples import FEWEST, find_counter_examples, is_falling
from auditor.results.measures import PLOTTED, Measure
from auditor.text.numbers import MINUS, interval, number, percent, percent_number, significant
from auditor.web.figures.colors import SERIES
from auditor.web.figures.labels import Box, Label, place_labels
from auditor.web.figures.scale import Scale, Tick, around

WIDTH, NARROWEST, WIDEST = 1080, 320, 2400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 48
MOST_EXAMPLES = 20
_CANDIDATES = 40


@dataclass(frozen=True)
class Window:
    """The part of the plot to draw, in the values of the measures; None leaves a side open."""

    x_from: float | None = None
    x_to: float | None = None
    y_from: float | None = None
    y_to: float | None = None

    def shows(self, x: float, y: float) -> bool:
        """Whether a point is inside."""
        sides = ((self.x_from, x), (x, self.x_to), (self.y_from, y), (y, self.y_to))
        return all(low is None or high is None or low <= high for low, high in sides)


@dataclass(frozen=True)
class View:
    """How the plot is drawn: which part, which groups are hidden, what is searched for, and its width in pixels."""

    by: str = "training"
    window: Window = field(default_factory=Window)
    hidden: Collection[str] = ()
    find: str = ""
    width: int = WIDTH


@dataclass(frozen=True)
class Point:
    """One model. ``path`` draws its marker and its interval; ``lines`` say what it is, one thing a line.

    ``certified_path``: from the robust accuracy to the certified accuracy, if one is on an axis; else empty.
    """

    id: int
    model: str
    x: float
    y: float
    path: str
    certified_path: str
    certified: float | None
    kind: int
    flagged: bool
    found: bool
    x_text: str
    y_text: str
    group: str
    flags: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class CounterExample:
    """A model far from the trend: its values, its ranks from the lowest, and on which side it is."""

    id: int
    model: str
    x_text: str
    y_text: str
    x_rank: float
    y_rank: float
    side: str


@dataclass(frozen=True)
class Group:
    """A series of the legend: its name, the number of its colour and marker, its size, and whether it is hidden."""

    name: str
    kind: int
    count: int
    hidden: bool

    @property
    def key(self) -> str:
        """Its marker in a square of 16 pixels."""
        return marker(self.kind, 8, 8)


@dataclass(frozen=True)
class ZooPlot:
    """``points`` are those inside the window and not hidden, of ``count`` models.

    ``x_name``, ``y_name``: the measures in a sentence; ``x_range``, ``y_range``: the values at the ends of the axes.
    ``examples``: up to 20 of the ``far`` counter-examples that are drawn, the farthest first; ``far_undrawn``: how many
    are not drawn. ``rule`` says what they are. Ranks, ``statements`` and ``rule`` are about all models.
    ``certificates``: how certified accuracies are drawn, and which bounds are 0; empty if there is nothing to say.
    """

    points: tuple[Point, ...]
    count: int
    groups: tuple[Group, ...]
    by: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    labels: tuple[Label, ...]
    statements: tuple[str, ...]
    examples: tuple[CounterExample, ...]
    far: int
    far_undrawn: int
    rule: str
    certificates: str
    x_title: str
    y_title: str
    x_name: str
    y_name: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    searched: bool
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


def zoo_plot(
    models: Sequence[PlotModel], x: str = "gap", y: str = "robust_accuracy", view: View | None = None
) -> ZooPlot | None:
    """Plot the models of one setting; None without models."""
    if not models:
        return None
    view = view or View()
    width = min(max(view.width, NARROWEST), WIDEST)
    height = min(max(width // 2, 360), 620)
    x_measure, y_measure = PLOTTED[x], PLOTTED[y]
    across = _scale([one.x for one in models], x_measure, view.window.x_from, view.window.x_to, LEFT, width - RIGHT)
    up = _scale([one.y for one in models], y_measure, view.window.y_from, view.window.y_to, height - BOTTOM, TOP)
    names, groups = _groups(models, view)
    kinds = {name: k for k, name in enumerate(groups)}
    points = tuple(
        _point(one, group, kinds[group], (across, up), (x_measure, y_measure), view.find)
        for one, group in zip(models, names, strict=True)
        if group not in view.hidden and view.window.shows(one.x, one.y)
    )
    far = find_counter_examples(models)
    frame = Box(LEFT + 2, TOP, width - RIGHT, height - BOTTOM - 2)
    drawn = {point.id for point in points}
    listed = [one for one in far if one[0] in drawn]
    named = list(_importance(points, [number for number, *_ in listed]))[:_CANDIDATES]
    return ZooPlot(
        points=points,
        count=len(models),
        groups=tuple(Group(name, kinds[name], names.count(name), name in view.hidden) for name in groups),
        by=view.by,
        x_ticks=across.ticks(max(3, width // 130), scale=100 if x_measure.share else 1),
        y_ticks=up.ticks(6, scale=100 if y_measure.share else 1),
        labels=place_labels(named, [(point.x, point.y) for point in points], frame),
        statements=tuple(describe_association(models, x_measure.name, y_measure.name)),
        examples=tuple(_examples(models, listed[:MOST_EXAMPLES], x_measure, y_measure)),
        far=len(listed),
        far_undrawn=len(far) - len(listed),
        rule=_rule(models, x_measure, y_measure),
        certificates=_certificates(points),
        x_title=x_measure.title,
        y_title=y_measure.title,
        x_name=x_measure.name,
        y_name=y_measure.name,
        x_range=(across.low, across.high),
        y_range=(up.low, up.high),
        searched=bool(view.find),
        width=width,
        height=height,
        left=LEFT,
        right=width - RIGHT,
        top=TOP,
        bottom=height - BOTTOM,
    )


def zoo_plot_of_rows(rows: Sequence[ResultRow], x: str = "gap", y: str = "robust_accuracy") -> ZooPlot | None:
    """Plot the rows that have both measures."""
    return zoo_plot([one for row in rows if (one := row.plot_model(x, y)) is not None], x, y)


def _rule(models: Sequence[PlotModel], x: Measure, y: Measure) -> str:
    known = [one for one in models if not one.flags]
    if len(known) < FEWEST:
        return f"Counter-examples need at least {FEWEST} unflagged models."
    half = math.ceil(len(known) / 2)
    falls = f" Here {y.name} falls as {x.name} rises, so {x.name} is ranked from its largest value."
    return (
        f"A counter-example is an unflagged model whose ranks by {x.name} and by {y.name} differ by at least half of "
        f"the {len(known)} unflagged models, which is {half} places.{falls if is_falling(known) else ''}"
    )


def _examples(
    models: Sequence[PlotModel], far: Sequence[tuple[int, float, float, float]], x: Measure, y: Measure
) -> Iterator[CounterExample]:
    by_id = {one.id: one for one in models}
    falls = is_falling([one for one in models if not one.flags])
    for audit_id, x_rank, y_rank, difference in far:
        one = by_id[audit_id]
        high_y = difference > 0
        side = f"{'high' if high_y == falls else 'low'} {x.name}, {'high' if high_y else 'low'} {y.name}"
        yield CounterExample(one.id, one.model, _text(one.x, x), _text(one.y, y), x_rank, y_rank, side)


def _importance(points: Sequence[Point], far: Sequence[int]) -> Iterator[tuple[str, float, float]]:
    """Names and places of the points, those that should be named first: found ones, counter-examples, the ends."""
    drawn = {point.id: point for point in points}
    order = [point.id for point in points if point.found]
    order += far
    unflagged = [point for point in points if not point.flagged]
    for axis, largest in (("y", False), ("x", True), ("x", False), ("y", True)):  # y grows downwards
        ordered = sorted(unflagged, key=lambda point: getattr(point, axis), reverse=largest)
        order += [point.id for point in ordered[:2]]
    for audit_id in dict.fromkeys(order):
        point = drawn[audit_id]
        yield point.model.partition(":")[2] or point.model, point.x, point.y


def _scale(
    values: Sequence[float], measure: Measure, low: float | None, high: float | None, start: float, end: float
) -> Scale:
    first, last = (-0.02, 1.02) if measure.share else around(values, least=measure.least)
    first, last = first if low is None else low, last if high is None else high
    return Scale(first, last if last > first else first + measure.least, start, end)


def _groups(models: Sequence[PlotModel], view: View) -> tuple[list[str], list[str]]:
    """The group of each model, and the groups in their order; beyond seven, the last one holds all small groups."""
    names = [_group(one, view.by) for one in models]
    sizes = Counter(sorted(names))
    if len(sizes) <= SERIES:
        return names, list(sizes)
    kept = sorted(name for name, _ in sizes.most_common(SERIES - 1))
    return [name if name in kept else "other" for name in names], [*kept, "other"]


def _group(one: PlotModel, by: str) -> str:
    if by == "source":
        return one.source
    if by == "architecture":
        return str(one.architecture or "not recorded")
    method = one.training.get("method")
    name = METHOD_NAMES.get(str(method), str(method) if method else "not recorded")
    return f"{name} + regularizer" if one.regularized else name


def _point(
    one: PlotModel, group: str, kind: int, scales: tuple[Scale, Scale], measures: tuple[Measure, Measure], find: str
) -> Point:
    (across, up), (x_measure, y_measure) = scales, measures
    x, y = across(one.x), up(one.y)
    x_text, y_text = _text(one.x, x_measure, one.x_interval), _text(one.y, y_measure, one.y_interval)
    return Point(
        id=one.id,
        model=one.model,
        x=x,
        y=y,
        path=_intervals(one, x, y, across, up) + marker(kind, x, y),
        certified_path=_certified(one, x, y, across, up),
        certified=one.certified,
        kind=kind,
        flagged=bool(one.flags),
        found=bool(find) and find.casefold() in one.model.casefold(),
        x_text=x_text,
        y_text=y_text,
        group=group,
        flags=tuple(one.flags),
        lines=(
            one.model,
            f"{x_measure.name} {x_text}",
            f"{y_measure.name} {y_text}",
            *_certified_lines(one),
            group,
            *([f"flagged: {', '.join(one.flags)}"] if one.flags else []),
        ),
    )


def _intervals(one: PlotModel, x: float, y: float, across: Scale, up: Scale) -> str:
    """The intervals as lines, cut at the ends of the axes."""
    path = ""
    if one.y_interval:
        low, high = (up(min(max(end, up.low), up.high)) for end in one.y_interval)
        path += f"M{x} {low}V{high}"
    if one.x_interval:
        low, high = (across(min(max(end, across.low), across.high)) for end in one.x_interval)
        path += f"M{low} {y}H{high}"
    return path


def _certified(one: PlotModel, x: float, y: float, across: Scale, up: Scale) -> str:
    """A line from the robust accuracy, wherever it is drawn, to the certified one, with a bar at its end."""
    if one.certified is None:
        return ""
    path = ""
    if one.y_interval:
        end = up(min(max(one.certified, up.low), up.high))
        path += f"M{x} {y}V{end}M{x - 6:.1f} {end}h12"
    if one.x_interval:
        end = across(min(max(one.certified, across.low), across.high))
        path += f"M{x} {y}H{end}M{end} {y - 6:.1f}v12"
    return path


def _certified_lines(one: PlotModel) -> list[str]:
    if one.certified is None:
        return []
    return [f"certified {percent(one.certified)}" + (f": {NO_BOUND}" if one.certified == 0 else "")]


def _certificates(points: Sequence[Point]) -> str:
    sentences = []
    if any(point.certified_path for point in points):
        sentences.append("A dotted line goes from the robust accuracy to the certified accuracy, its lower bound.")
    if any(point.certified == 0 for point in points):
        sentences.append(f"Certified 0: {NO_BOUND}.")
    return " ".join(sentences)


def marker(kind: int, x: float, y: float) -> str:
    """A closed path around a point: a circle, a square or a triangle, by the number of the series."""
    if kind % 3 == 0:
        return f"M{x - 5:.1f} {y:.1f}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"
    if kind % 3 == 1:
        return f"M{x - 4.5:.1f} {y - 4.5:.1f}h9v9h-9z"
    return f"M{x:.1f} {y - 6:.1f}l5.6 10h-11.2z"


def _text(value: float, measure: Measure, ends: tuple[float, float] | None = None) -> str:
    """A value as people read it, with its interval if it has one."""
    if measure.share:
        return percent(value) + (f" ({interval(*ends, percent_number)})" if ends else "")
    short = number(value, minus=MINUS) if abs(value) >= 0.1 else significant(value, 2).replace("-", MINUS)
    return "0" if value == 0 else short
