"""The calibration of the gap by `screen` on the demo zoo and on random networks, read from ``gap_calibration.toml``."""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well the gap separates robust models from others, and how large it is by chance; see docs/findings.md.

    Attributes:
        threshold: robust accuracy, 0 to 1, from which a model of the demo zoo counts as robust.
        n, robust: unflagged models of the demo zoo, and how many of them are robust.
        auc, low, high: area under the ROC curve of the gap, with its 95 % interval.
        networks, architectures: the number of randomly initialised networks of ten classes, and of their architectures.
        gap_95: a gap that 5 % of those networks exceed.
    """

    threshold: float
    n: int
    robust: int
    auc: float
    low: float
    high: float
    networks: int
    architectures: int
    gap_95: float


@functools.cache
def load_calibration(linearization: str) -> Calibration:
    """The calibration of ``remove`` or ``fold``."""
    content = tomllib.loads((Path(__file__).parent / "gap_calibration.toml").read_text(encoding="utf-8"))
    return Calibration(**content[linearization])
