"""Spearman's rank correlation with its interval, for the gap and the robustness of a zoo's models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr


@dataclass(frozen=True)
class Association:
    """Spearman's rho of n pairs, its 95 % interval and its two-sided p-value; NaN with fewer than 4 pairs."""

    n: int
    rho: float
    low: float
    high: float
    p_value: float


def spearman(first: Sequence[float], second: Sequence[float]) -> Association:
    """Spearman's rho with the interval of Bonett and Wright (2000): Fisher's z with variance (1 + rho²/2)/(n - 3).

    NaN for fewer than 4 pairs, or if one side is constant; no interval for a perfect order, which has no variance.

    Example:
        >>> found = spearman([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])
        >>> round(found.rho, 2), found.n
        (0.8, 5)
    """
    n = len(first)
    if n < 4:
        return Association(n, math.nan, math.nan, math.nan, math.nan)
    rho, p_value = _spearman(np.asarray(first, np.float64), np.asarray(second, np.float64))
    if math.isnan(rho) or abs(rho) > 1 - 1e-12:
        return Association(n, rho, math.nan, math.nan, p_value)
    reach = float(ndtri(0.975)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Association(n, rho, math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach), p_value)


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Rho and its two-sided p-value, as ``scipy.stats.spearmanr``, whose import takes longer than many commands."""
    if any(np.isnan(side).any() or (side == side[0]).all() for side in (first, second)):
        return math.nan, math.nan
    rho = rank_correlation(first, second)
    spread = (1 + rho) * (1 - rho)
    t = math.inf if spread <= 0 else abs(rho) * math.sqrt((len(first) - 2) / spread)
    return rho, 2 * float(stdtr(len(first) - 2, -t))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rho of ``(N,)`` values; neither side may be constant."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return found
