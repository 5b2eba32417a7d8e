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

    def inverse(self, name: str) -> float:
        """The same of the inverse of a slope, which is a length."""
        value = self.values.get(name, math.nan)
        if math.isnan(value):
            return math.nan
        return min(HIGH, max(LOW, -math.log2(value * self.eps))) if value > 0 else HIGH

    def plain(self, name: str) -> float:
        return self.values.get(name, math.nan)


FEATURES: dict[str, Callable[[Statistics], float]] = {
    "margin/confident": lambda s: s.length("margin/confident"),
    "slope/confident": lambda s: s.inverse("slope/confident"),
    "local_gap/confident": lambda s: s.plain("local_gap/confident"),
    "slope/uniform": lambda s: s.inverse("slope/uniform"),
}
"""Of models of up to 100 classes."""

FEATURES_OF_MANY: dict[str, Callable[[Statistics], float]] = {
    "margin_two/confident": lambda s: s.length("margin_two/confident"),
    "slope/confident": lambda s: s.inverse("slope/confident"),
}
"""Of models of more classes, whose local maps would take a backward pass for each of them."""
