"""The rule of the verdicts, fixed before any experiment ran: a 95 % interval on one side of zero, or within a margin."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from auditor.reproduce.records import Claim, Estimate, Verdict
from auditor.statistics import Paired

NEGLIGIBLE = {"number": 0.05, "points": 0.02}
"""Differences of gaps and correlations, and of accuracies, that are too small to matter."""
RULE = """\
A claim is a difference that should be above zero. It is

- **reproduced** if its 95 % interval is above zero, and every seed has this sign where the interval is over images;
- **not reproduced** if the interval is below zero, or lies within a negligible margin around zero (0.05 for gaps and
  correlations, 2 points for accuracies);
- **not decided** otherwise.

Intervals of gaps and correlations are Student's t over network families, each averaged over its seeds; with a single
family over seeds. Intervals of accuracies are Newcombe's for paired verdicts, over the images of all seeds: they do not
contain the chance of training, so every seed has to agree.
"""


def over_units(values: Sequence[float], what: str) -> Estimate:
    """The mean of independent values with Student's t interval; no interval for a single value, or a NaN.

    Example:
        >>> found = over_units([1.0, 2.0, 3.0], "seeds")
        >>> round(found.low, 2), found.value, round(found.high, 2)
        (-0.48, 2.0, 4.48)
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2 or math.isnan(mean):
        return Estimate(value=mean, low=math.nan, high=math.nan, over=f"{n} {what}")
    from scipy.special import stdtrit

    reach = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(value=mean, low=mean - reach, high=mean + reach, over=f"{n} {what}")


def over_images(pairs: Sequence[Paired]) -> Estimate:
    """The difference, first minus second, of verdicts on the images of all seeds together."""
    pooled = Paired(
        sum(pair.both for pair in pairs),
        sum(pair.only_first for pair in pairs),
        sum(pair.only_second for pair in pairs),
        sum(pair.neither for pair in pairs),
    )
    low, high = pooled.interval()
    seeds = f"{len(pairs)} seed{'s' if len(pairs) > 1 else ''}"
    return Estimate(value=pooled.difference, low=low, high=high, over=f"{pooled.n} images, {seeds}")


def decide(
    text: str, estimate: Estimate, kind: Literal["number", "points"], by_seed: Sequence[float] | None = None
) -> Claim:
    """Apply the rule; ``by_seed`` are the differences that have to agree in sign."""
    verdict, because = _verdict(estimate, NEGLIGIBLE[kind], by_seed)
    return Claim(text=text, kind=kind, estimate=estimate, verdict=verdict, because=because)


def compare_verdicts(text: str, pairs: Sequence[Paired]) -> Claim:
    """The claim that the first share of yes is larger, from one pair of verdicts for each seed."""
    return decide(text, over_images(pairs), "points", [pair.difference for pair in pairs])


def _verdict(estimate: Estimate, negligible: float, by_seed: Sequence[float] | None) -> tuple[Verdict, str]:
    low, high = estimate.low, estimate.high
    if math.isnan(low) or math.isnan(high):
        return "not decided", f"there is no interval over {estimate.over}"
    if low > 0:
        if by_seed is not None and min(by_seed) <= 0:
            return "not decided", "the interval is above zero, but the seeds disagree in sign"
        return "reproduced", "the interval is above zero"
    if high < 0:
        return "not reproduced", "the interval is below zero"
    if -negligible <= low and high <= negligible:
        return "not reproduced", f"the interval is within {negligible:g} of zero"
    return "not decided", "the interval includes zero"
