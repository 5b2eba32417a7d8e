"""Linear scales from values to coordinates, and their ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A coordinate along an axis, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to coordinates from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value, rounded to 0.01."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, number: int = 5, *, scale: float = 1) -> tuple[Tick, ...]:
        """Return about ``number`` round ticks; ``scale`` 100 labels fractions as percentages."""
        step = _round_step((self.high - self.low) * scale / number)
        first = math.ceil(self.low * scale / step - 1e-9)
        last = math.floor(self.high * scale / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return tuple(
            Tick(self(k * step / scale), f"{k * step:.{digits}f}".replace("-", "−")) for k in range(first, last + 1)
        )


def around(values: Iterable[float], *, least: float) -> tuple[float, float]:
    """Return the range of values plus a tenth at each end, at least ``least`` wide."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    room = max(0.1 * (high - low), (least - (high - low)) / 2)
    return low - room, high + room


def _round_step(rough: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough - 1e-12 * power)
