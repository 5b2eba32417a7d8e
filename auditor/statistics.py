"""Intervals and paired tests for verdicts, from SciPy. No torch, because commands that only read use them, too.

SciPy is imported on first use, and `scipy.stats` only for p-values: the import takes longer than some audits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval (Wilson, 1927) of the fraction ``successes / n``; (NaN, NaN) if ``n`` is 0.

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)
    """
    if n == 0:
        return float("nan"), float("nan")
    from scipy.special import ndtri

    z, share = float(ndtri(0.975)), successes / n
    centre = (2 * n * share + z**2) / (2 * (n + z**2))
    reach = z / (2 * (n + z**2)) * math.sqrt(4 * n * share * (1 - share) + z**2)
    return (0.0 if successes == 0 else centre - reach), (1.0 if successes == n else centre + reach)


def mean_interval(shares: NDArray[np.floating]) -> tuple[float, float, float]:
    """The mean of shares ``(N,)`` in [0, 1] and its 95 % interval, with the N samples as the units.

    A Wilson interval with the effective number of samples N p (1 - p) / s², of the mean p and the variance s² of the
    shares (Dean and Pagano, 2015). For shares of 0 and 1 it is the Wilson interval of N - 1 samples.

    Example:
        >>> [round(end, 3) for end in mean_interval(np.array([1.0, 0.8, 0.4, 1.0, 0.6, 0.9]))]
        [0.783, 0.551, 0.914]
    """
    n = len(shares)
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    from scipy.special import ndtri

    mean, variance = float(shares.mean()), float(shares.var(ddof=1)) if n > 1 else 0.0
    inside = mean * (1 - mean)
    z2, size = float(ndtri(0.975)) ** 2, n * inside / variance if variance > 0 else float(n)
    centre = (mean + z2 / (2 * size)) / (1 + z2 / size)
    reach = math.hypot(math.sqrt(z2 * inside / size), z2 / (2 * size)) / (1 + z2 / size)
    return mean, (0.0 if mean == 0 else centre - reach), (1.0 if mean == 1 else centre + reach)


@dataclass(frozen=True)
class PairedMeans:
    """Two numbers in [0, 1] for each of the same samples, compared by their mean difference.

    Attributes:
        first, second: the two means; ``difference``: the first minus the second.
        low, high: the 95 % interval of the difference, from Student's t.
        p_value: two-sided, of the paired t-test, or of the sign test if all samples have the same difference; 1 if
            there is no difference on any sample.
        p_lower: one-sided, with the alternative that the second is lower.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    p_lower: float
    n: int

    @classmethod
    def test(cls, first: NDArray[np.floating], second: NDArray[np.floating]) -> "PairedMeans":
        """Compare the numbers ``(N,)`` of two sides on the same N samples.

        Example:
            >>> found = PairedMeans.test(np.array([1.0, 0.8, 0.6, 0.9]), np.array([0.9, 0.8, 0.5, 0.6]))
            >>> round(found.difference, 3), round(found.p_value, 3)
            (0.125, 0.141)
        """
        from scipy.stats import t

        n, differences = len(first), first - second
        difference = float(differences.mean())
        ends = float(first.mean()), float(second.mean())
        if n < 2 or not differences.any():
            nothing = n >= 2
            return cls(*ends, difference, 0.0 if nothing else -1.0, 0.0 if nothing else 1.0, 1.0, 1.0, n)
        error = float(differences.std(ddof=1)) / math.sqrt(n)
        if error == 0:  # the same difference on all samples has no spread to estimate, but a sign
            chance = 0.5**n
            two_sided, lower = min(1.0, 2 * chance), chance if difference > 0 else 1.0
            return cls(*ends, difference, difference, difference, two_sided, lower, n)
        statistic, reach = difference / error, float(t.ppf(0.975, n - 1)) * error
        two_sided, lower = 2 * float(t.sf(abs(statistic), n - 1)), float(t.sf(statistic, n - 1))
        return cls(*ends, difference, max(-1.0, difference - reach), min(1.0, difference + reach), two_sided, lower, n)


def mcnemar(only_first: int, only_second: int, *, one_sided: bool = False) -> float:
    """Exact p-value of McNemar's test (1947) from the two counts of discordant pairs; 1 if there are none.

    Two-sided, or one-sided with the alternative that the first count is larger than chance explains.

    Example:
        >>> mcnemar(5, 0), mcnemar(5, 0, one_sided=True)
        (0.0625, 0.03125)
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    alternative = "greater" if one_sided else "two-sided"
    return float(binomtest(only_first, discordant, alternative=alternative).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted by Holm's step-down method (1979), in the order that they were given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> float:
    """The largest p-value to reject so that the false-discovery rate is at most ``rate``; 0 if none is rejected.

    Benjamini and Hochberg (1995). It holds for independent and for positively dependent tests (Benjamini and
    Yekutieli, 2001), such as those of several models on the same images.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5], 0.05), benjamini_hochberg([0.04, 0.5], 0.05)
        (0.01, 0.0)
    """
    ordered, m = sorted(p_values), len(p_values)
    return max((p for i, p in enumerate(ordered, 1) if p <= rate * i / m), default=0.0)


def e_benjamini_hochberg(e_values: Sequence[float], rate: float) -> float:
    """The smallest e-value to reject so that the false-discovery rate is at most ``rate``; infinite if none is.

    e-BH (Wang and Ramdas, 2022). It holds whatever the dependence of the tests. An e-value's mean is at most 1 if its
    null hypothesis is true; the capital of a bet is one, whenever the bet ends.

    Example:
        >>> e_benjamini_hochberg([45, 41, 39], 0.05), e_benjamini_hochberg([25, 1], 0.05)
        (39, inf)
    """
    ordered, m = sorted(e_values, reverse=True), len(e_values)
    return min((e for i, e in enumerate(ordered, 1) if e * i * rate >= m), default=math.inf)


@dataclass(frozen=True)
class Paired:
    """Counts of two yes-or-no verdicts on the same samples: yes in both, in one only, or in neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def count(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> "Paired":
        """Count the verdicts of two arrays ``(N,)`` over the same samples."""
        counts = (first & second, first & ~second, ~first & second, ~first & ~second)
        return cls(*(int(part.sum()) for part in counts))

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> float:
        """The first's share of yes, 0 to 1."""
        return (self.both + self.only_first) / self.n

    @property
    def second(self) -> float:
        """The second's share of yes, 0 to 1."""
        return (self.both + self.only_second) / self.n

    @property
    def difference(self) -> float:
        """The first's share minus the second's, -1 to 1."""
        return (self.only_first - self.only_second) / self.n

    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference: Newcombe (1998), method 10, from the two Wilson intervals."""
        (low_1, high_1), (low_2, high_2) = (
            wilson_interval(self.both + other, self.n) for other in (self.only_first, self.only_second)
        )
        phi = self._correlation()
        down, up = self.first - low_1, high_1 - self.first
        down_2, up_2 = self.second - low_2, high_2 - self.second
        reach_low = math.sqrt(max(0.0, down**2 - 2 * phi * down * up_2 + up_2**2))
        reach_high = math.sqrt(max(0.0, up**2 - 2 * phi * up * down_2 + down_2**2))
        return self.difference - reach_low, self.difference + reach_high

    def _correlation(self) -> float:
        """Phi of the 2 x 2 table, a positive one corrected for continuity; 0 where a margin is empty."""
        a, b, c, d = self.both, self.only_first, self.only_second, self.neither
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        if margins == 0:
            return 0.0
        product = a * d - b * c
        return (max(product - self.n / 2, 0.0) if product > 0 else float(product)) / math.sqrt(margins)


@dataclass(frozen=True)
class Auc:
    """The area under the ROC curve, 0 to 1, with its 95 % interval.

    NaN if all samples are positive, or all are negative.
    """

    value: float
    low: float
    high: float
    n: int
    positives: int


def auc(scores: Sequence[float], positive: Sequence[bool]) -> Auc:
    """The share of positive-negative pairs in which the positive sample scores higher; a tie counts half.

    The interval is Newcombe's (2006, part 2, method 5): its ends are 1.96 standard errors of Hanley and McNeil (1982)
    from the estimate, with the error taken at the end itself. It stays in [0, 1] and has a width at a perfect order.

    Args:
        scores: ``(N,)``, finite.
        positive: ``(N,)``, whether each sample is positive.

    Example:
        >>> auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]).value
        0.75
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    values, yes = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    n, positives = len(values), int(yes.sum())
    if positives in (0, n):
        return Auc(math.nan, math.nan, math.nan, n, positives)
    differences = values[yes][:, None] - values[~yes]
    value = float(((differences > 0) + (differences == 0) / 2).mean())
    reach = float(ndtri(0.975)) ** 2

    def beyond(end: float) -> float:
        """Positive where ``end`` is farther from the estimate than its standard errors reach."""
        more = n / 2 - 1
        factor = 1 + more * (1 - end) / (2 - end) + more * end / (1 + end)
        return (value - end) ** 2 - reach * end * (1 - end) * factor / (positives * (n - positives))

    tiny = 1e-9
    low = 0.0 if value == 0 else float(brentq(beyond, 0, min(value, 1 - tiny)))
    high = 1.0 if value == 1 else float(brentq(beyond, max(value, tiny), 1))
    return Auc(value, low, high, n, positives)
