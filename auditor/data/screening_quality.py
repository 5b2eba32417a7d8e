"""How well the screening score predicts networks of families that its fit has not seen: docs/screening.md."""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "screening" / "constants.toml"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of the study zoo, each family scored by a fit on the others.

    Attributes:
        models, events, families: how many, and in how many models at least half of the correct images survive.
        rho, auc: Spearman's rho with robust accuracy, and the area under the ROC curve of the event; each with the ends
            of its 95 % interval.
        brier: the mean squared error of the probability.
    """

    models: int
    events: int
    families: int
    rho: tuple[float, float, float]
    auc: tuple[float, float, float]
    brier: float


@functools.cache
def load_prediction(norm: str) -> Prediction | None:
    """The figures of a norm; None where no constants are fitted for it."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8")).get(norm)
    if found is None:
        return None
    figures = found["families_held_out"]
    return Prediction(**{**figures, "rho": tuple(figures["rho"]), "auc": tuple(figures["auc"])})
