"""The rule of the verdicts, fixed before any experiment ran: which side of zero a 95 % interval is on."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.reproduce.records import Claim, Estimate, Verdict

Verdicts = NDArray[np.bool_]

NEGLIGIBLE = {"number": 0.05, "points": 0.02}
"""Differences of gaps and correlations, and of accuracies, that are too small to matter."""
RULE = """\
A claim is a difference that should be above zero. It is

- **reproduced** if its 95 % interval is above zero, and every seed has this sign where the interval is over images;
- **not reproduced** if the interval is below zero, or lies within a negligible margin around zero (0.05 for gaps and
  correlations, 2 points for accuracies);
- **not decided** otherwise.

For the one claim that a gap is absent, *reproduced* and *not reproduced* change places.

Intervals of gaps and correlations are Student's t over network families, each averaged over its seeds; with a single
family over seeds. Intervals of accuracies are those of Agresti and Min (2005) for paired verdicts, over images, each
with its mean over the seeds: they do not contain the chance of training, so every seed has to agree.
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


def over_images(first: Sequence[Verdicts], second: Sequence[Verdicts], what: str = "seed") -> Estimate:
    """The mean difference of verdicts, first minus second, over images; each image's is its mean over the seeds.

    The interval is Agresti's and Min's (2005): two images are added, on which the verdicts agree and differ equally
    often. The same images in every seed count once, because their verdicts are not independent.

    Args:
        first, second: for each seed a bool array ``(N,)``, all of the same images in one order.
        what: what the arrays are of, in the singular.

    Example:
        >>> yes, no = np.ones(50, bool), np.zeros(50, bool)
        >>> found = over_images([yes], [np.concatenate([yes[:40], no[:10]])])
        >>> found.value, round(found.low, 3), round(found.high, 3)
        (0.2, 0.079, 0.306)
    """
    each = by_image(first, second)
    n = len(each)
    total = n + 2
    mean = float(each.sum()) / total
    variance = (float((each**2).sum()) + 1) / total - mean**2
    reach = 1.959964 * math.sqrt(max(variance, 0) / total)
    seeds = f"{len(first)} {what}{'s' if len(first) > 1 else ''}"
    return Estimate(
        value=float(each.mean()), low=max(mean - reach, -1.0), high=min(mean + reach, 1.0), over=f"{n} images, {seeds}"
    )


def by_image(first: Sequence[Verdicts], second: Sequence[Verdicts]) -> NDArray[np.float64]:
    """``(N,)``: the mean over the seeds of the differences of the verdicts, -1 to 1."""
    differences: NDArray[np.float64] = np.mean(np.array(first, np.float64) - np.array(second, np.float64), axis=0)
    return differences


def decide(
    text: str, estimate: Estimate, kind: Literal["number", "points"], by_seed: Sequence[float] | None = None
) -> Claim:
    """Apply the rule; ``by_seed`` are the differences that have to agree in sign."""
    verdict, because = _verdict(estimate, NEGLIGIBLE[kind], by_seed)
    return Claim(text=text, kind=kind, estimate=estimate, verdict=verdict, because=because)


def compare_verdicts(text: str, first: Sequence[Verdicts], second: Sequence[Verdicts]) -> Claim:
    """The claim that the first verdicts are yes more often; arguments as :func:`over_images`."""
    by_seed = [float(one.mean() - other.mean()) for one, other in zip(first, second, strict=True)]
    return decide(text, over_images(first, second), "points", by_seed)


def decide_absent(text: str, estimate: Estimate) -> Claim:
    """The mirror of the rule, for a claim that a gap is absent: its interval has to lie within the margin around 0."""
    low, high, margin = estimate.low, estimate.high, NEGLIGIBLE["number"]
    verdict: Verdict = "not decided"
    because = "the interval includes zero and is wider than the margin"
    if math.isnan(low) or math.isnan(high):
        because = f"there is no interval over {estimate.over}"
    elif -margin <= low and high <= margin:
        verdict, because = "reproduced", f"the interval is within {margin:g} of zero"
    elif low > 0 or high < 0:
        verdict, because = "not reproduced", "the interval excludes zero"
    return Claim(text=text, kind="number", estimate=estimate, verdict=verdict, because=because)


def _verdict(estimate: Estimate, negligible: float, by_seed: Sequence[float] | None) -> tuple[Verdict, str]:
    low, high = estimate.low, estimate.high
    if math.isnan(estimate.value):
        return "not decided", "the score is undefined for some network"
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
