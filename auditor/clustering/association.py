"""Does the gap go with robustness? Spearman's rank correlation over a zoo, with its interval."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import ConstantInputWarning, norm, spearmanr


@dataclass(frozen=True)
class Association:
    """Spearman's rho of n pairs, its 95 % interval and its two-sided p-value; NaN where there are too few."""

    n: int
    rho: float
    low: float
    high: float
    p_value: float


def spearman(first: Sequence[float], second: Sequence[float]) -> Association:
    """Spearman's rho with the interval of Bonett and Wright (2000): Fisher's z with variance (1 + rho²/2)/(n - 3).

    NaN for fewer than 4 pairs, or where one side is constant; no interval for a perfect order, which has no variance.
    """
    n = len(first)
    if n < 4:
        return Association(n, math.nan, math.nan, math.nan, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        rho, p_value = (float(value) for value in spearmanr(first, second))
    if math.isnan(rho) or abs(rho) > 1 - 1e-12:
        return Association(n, rho, math.nan, math.nan, p_value)
    reach = float(norm.ppf(0.975)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Association(n, rho, math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach), p_value)
