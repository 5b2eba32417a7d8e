"""Intervals and paired tests for verdicts, from SciPy."""

from scipy.stats import binomtest


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval (Wilson, 1927) of a fraction; (NaN, NaN) of nothing."""
    if n == 0:
        return float("nan"), float("nan")
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar p-value (1947) from the two counts of discordant pairs; 1 where there are none."""
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
