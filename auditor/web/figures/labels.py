"""Places names beside points, so that no two names overlap and all of them are inside the plot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LETTER, HEIGHT, DISTANCE = 6.6, 14.0, 9.0
LONGEST = 30
MOST = 8
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
"""Where a name may stand relative to its point, the best place first: right, left, above, below, the corners."""


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the two share an area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def contains(self, other: "Box") -> bool:
        """Whether the other lies inside this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Label:
    """A name, and the left end of its baseline."""

    text: str
    x: float
    y: float
    box: Box


def place_labels(
    named: Iterable[tuple[str, float, float]],
    points: Sequence[tuple[float, float]],
    frame: Box,
    *,
    most: int = MOST,
) -> tuple[Label, ...]:
    """Place names in the order of their importance, each on the side where it covers fewest points.

    A name that fits nowhere is left out.

    Args:
        named: the names, and the points that they belong to.
        points: all points of the plot.
        frame: where names may stand.
        most: at most so many names are placed.
    """
    x, y = np.array(points, np.float64).reshape(-1, 2).T
    placed: list[Label] = []
    for name, at, height in named:
        if len(placed) == most:
            break
        text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        boxes = [_box(at, height, LETTER * len(text), across, down) for across, down in _SIDES]
        free = [
            box for box in boxes if frame.contains(box) and not any(box.overlaps(label.box) for label in placed)
        ]  # fmt: skip
        if not free:
            continue
        covered = [
            int(((x > box.left - 5) & (x < box.right + 5) & (y > box.top - 5) & (y < box.bottom + 5)).sum())
            for box in free
        ]
        best = free[covered.index(min(covered))]
        placed.append(Label(text, round(best.left, 1), round(best.bottom - 3, 1), best))
    return tuple(placed)


def _box(x: float, y: float, width: float, across: int, down: int) -> Box:
    """The box of a name on this side of a point."""
    left = x - width / 2 + across * (width / 2 + DISTANCE)
    top = y - HEIGHT / 2 + down * (HEIGHT / 2 + (DISTANCE if across == 0 else DISTANCE / 2))
    return Box(left, top, left + width, top + HEIGHT)
