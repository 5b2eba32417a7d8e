"""The fitted constants of the score: a data file with its provenance, written by ``python -m benchmarks.study fit``."""

import functools
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from auditor.screening.features import FEATURES, FEATURES_OF_MANY, Statistics

FILE = Path(__file__).parent / "constants.toml"
NO_CONSTANTS = "no constants are fitted for this norm"


@dataclass(frozen=True)
class Constants:
    """A logistic regression on standardized features; without features there is no score.

    Attributes:
        intercept: of the log odds.
        features: by name, the mean and standard deviation that standardize it, and its weight, 0 or more.
    """

    intercept: float = 0.0
    features: tuple[tuple[str, float, float, float], ...] = ()

    def score(self, statistics: Statistics) -> tuple[float, str]:
        """The probability, and why it is NaN. An unknown feature counts as the mean; the margin must be known."""
        if not self.features:
            return math.nan, NO_CONSTANTS
        total, known = self.intercept, 0
        for name, mean, deviation, weight in self.features:
            value = (FEATURES | FEATURES_OF_MANY)[name](statistics)
            if not math.isnan(value):
                known += name.startswith("margin")
                total += weight * (value - mean) / deviation
        if not known:
            return math.nan, "no margin is known at any probe"
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, total)))), ""


@functools.cache
def load_constants(norm: str, *, many: bool = False) -> Constants:
    """The shipped constants of a norm, or those for ``many`` classes; empty ones where there are none."""
    if not FILE.is_file():
        return Constants()
    content = tomllib.loads(FILE.read_text(encoding="utf-8")).get(f"{norm}-many" if many else norm)
    if content is None:
        return Constants()
    rows = tuple((row["name"], row["mean"], row["deviation"], row["weight"]) for row in content["features"])
    return Constants(content["intercept"], rows)
