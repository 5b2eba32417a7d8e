"""The features of the score: each grows with robustness, and none depends on the scale of logits or of pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

LOW, HIGH = -6.0, 6.0


@dataclass(frozen=True)
class Statistics:
    """Statistics by name, and the radius beside which lengths are measured."""

    values: dict[str, float]
    eps: float

    def length(self, name: str) -> float:
        """log2 of a length over eps, between -6 and 6; NaN stays NaN."""
        value = self.values.get(name, math.nan)
        if math.isnan(value):
            return math.nan
        return min(HIGH, max(LOW, math.log2(value / self.eps))) if value > 0 else LOW

    def plain(self, name: str) -> float:
        return self.values.get(name, math.nan)


FEATURES: dict[str, Callable[[Statistics], float]] = {
    "margin/uniform": lambda s: s.length("margin/uniform"),
    "margin/smooth": lambda s: s.length("margin/smooth"),
    "margin/leaves": lambda s: s.length("margin/leaves"),
    "margin/dream": lambda s: s.length("margin/dream"),
    "radius/uniform": lambda s: s.plain("radius/uniform"),
    "radius/smooth": lambda s: s.plain("radius/smooth"),
    "radius/leaves": lambda s: s.plain("radius/leaves"),
    "radius/dream": lambda s: s.plain("radius/dream"),
    "local_gap/uniform": lambda s: s.plain("local_gap/uniform"),
    "local_gap/smooth": lambda s: s.plain("local_gap/smooth"),
}
