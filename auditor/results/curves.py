"""What a curve says: robust accuracy at any radius, the median critical ε, the area, and paired tests of two curves.

R(ε) is the share of samples without an adversarial image of size ε or less. It is one minus the empirical distribution
of the sizes, so the band of Dvoretzky, Kiefer and Wolfowitz (with Massart's constant, 1990) holds at all radii at once.
At one radius Wilson's interval is narrower.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import UsageError
from auditor.records.comparisons import CurveComparison
from auditor.records.curves import Curve
from auditor.records.results import ResultRow
from auditor.results.serialize import nan_to_none
from auditor.statistics import mcnemar, wilson_interval
from auditor.text.eps import format_eps
from auditor.text.numbers import interval, p_value, percent, points

RADII = (0.25, 0.5, 1.0, 1.5, 2.0)
"""The radii at which summaries give R, in eps of the audit."""
GRID = 160
"""The number of intervals between the radii of a drawn curve."""
TIE = 0.01
"""Two sizes of a sample that differ by less than this share are equal: a search is no more exact than that."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """R at one radius, with Wilson's 95 % interval."""

    eps: float
    robust: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CurveSummary:
    """A curve of n samples in numbers. Lengths are in [0, 1] pixels, in the audit's norm.

    Attributes:
        largest: the radius where the curve ends.
        median, median_low, median_high: the median critical ε, the smallest radius with R of 50 % or less, and its 95 %
            interval by order statistics, which assumes no distribution; None if it is beyond ``largest``.
        area, area_low, area_high: the area under R up to ``largest``, with a 95 % interval from the standard error. It
            is the mean critical ε, if larger ones count as ``largest``.
        reach: half the width of the band that holds all of R with 95 % confidence.
        points: R at fractions and multiples of the audit's eps.
    """

    n: int
    norm: str
    largest: float
    median: float | None
    median_low: float | None
    median_high: float | None
    area: float
    area_low: float
    area_high: float
    reach: float
    points: tuple[CurvePoint, ...]


def robust_at(curve: Curve, eps: float) -> CurvePoint:
    """R at a radius.

    Raises:
        UsageError: the radius is beyond the end of the curve.

    Example:
        >>> curve = Curve(norm="Linf", largest=0.4, sizes=np.float32([0, 0.1, 0.2, np.inf]),
        ...               found_by=np.array([-1, 0, 0, -1]), attacks=("minimal",), seconds=1.0)
        >>> robust_at(curve, 0.1).robust, robust_at(curve, 0.15).robust
        (0.5, 0.5)
    """
    if eps > curve.largest * (1 + 1e-6):
        raise UsageError(
            f"expected a radius of at most {format_eps(curve.largest)}, where the curve ends, got {format_eps(eps)}: "
            "audit with a larger --eps"
        )
    n = len(curve.sizes)
    standing = n - int(curve.broken_within(eps).sum())
    low, high = wilson_interval(standing, n)
    return CurvePoint(eps=eps, robust=standing / n, low=low, high=high)


def summarize_curve(curve: Curve, eps: float) -> CurveSummary:
    """The curve in numbers; ``eps`` is the audit's."""
    n = len(curve.sizes)
    median, low, high = median_interval(curve.sizes)
    cut = np.minimum(curve.sizes, curve.largest).astype(np.float64)
    area, error = float(cut.mean()), float(cut.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return CurveSummary(
        n=n,
        norm=curve.norm,
        largest=curve.largest,
        median=nan_to_none(median),
        median_low=nan_to_none(low),
        median_high=nan_to_none(high),
        area=area,
        area_low=max(0.0, area - 1.96 * error),
        area_high=min(curve.largest, area + 1.96 * error),
        reach=band_reach(n),
        points=tuple(robust_at(curve, share * eps) for share in RADII if share * eps <= curve.largest),
    )


def median_interval(sizes: NDArray[np.float32]) -> tuple[float, float, float]:
    """The median and its distribution-free 95 % interval by order statistics (David and Nagaraja, 2003, 7.1).

    Infinite values are larger than all others. With fewer than six values the interval is unbounded.

    Example:
        >>> median_interval(np.arange(1, 101, dtype=np.float32))
        (50.0, 40.0, 61.0)
    """
    from scipy.stats import binom

    n, ordered = len(sizes), np.sort(sizes)
    k = int(binom.ppf(0.025, n, 0.5))
    median = float(ordered[(n + 1) // 2 - 1])
    return (median, 0.0, math.inf) if k == 0 else (median, float(ordered[k - 1]), float(ordered[n - k]))


@dataclass(frozen=True)
class DrawnCurve:
    """R and the ends of its band at radii from 0 to the end of the curve, all ``(M,)``."""

    radii: NDArray[np.float64]
    robust: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def drawn_points(curve: Curve) -> DrawnCurve:
    """The curve as it is drawn, with its band."""
    radii = np.linspace(0, curve.largest, GRID + 1)
    robust = np.array([1 - curve.broken_within(radius).mean() for radius in radii])
    reach = band_reach(len(curve.sizes))
    return DrawnCurve(radii, robust, np.clip(robust - reach, 0, 1), np.clip(robust + reach, 0, 1))


def band_reach(n: int) -> float:
    """Half the width of the 95 % band that holds all of R, for n samples."""
    return math.sqrt(math.log(2 / 0.05) / (2 * n))


def curve_values(curve: Curve, eps: float) -> dict[str, Any]:
    """The curve as plain values, for JSON: its summary, drawn points with the band, and the size of each sample.

    A size is null where no adversarial image was found; ``found_by`` is the attack that found it, or null.
    """
    from auditor.results.serialize import serialize

    return serialize(summarize_curve(curve, eps)) | {
        "band": "Dvoretzky, Kiefer and Wolfowitz, 95 %, at all radii at once",
        **{name: values.tolist() for name, values in vars(drawn_points(curve)).items()},
        "sizes": [nan_to_none(float(size)) for size in curve.sizes],
        "found_by": [None if k < 0 else curve.attacks[k] for k in curve.found_by.tolist()],
        "seconds": curve.seconds,
    }


def require_curve(row: ResultRow, curve: Curve | None) -> Curve:
    """Raises UsageError if the result has no curve."""
    if curve is None:
        raise UsageError(
            f"{row.model}@{row.id} has no curve: `auditor scan … --curve` measures one, and NAME@ID selects a result"
        )
    return curve


def median_words(summary: CurveSummary) -> str:
    """``0.118 (95 % interval 0.115 to 0.12)``, or ``more than 0.4``."""
    if summary.median is None:
        return f"more than {format_eps(summary.largest)}"
    low, high = (
        f"more than {format_eps(summary.largest)}" if end is None else f"{end:.3g}"
        for end in (summary.median_low, summary.median_high)
    )
    return f"{summary.median:.3g} (95 % interval {low} to {high})"


def curve_pairs(curve: Curve, eps: float) -> list[tuple[str, str]]:
    """Names and values of the summary, as people read them; ``eps`` is the audit's."""
    summary = summarize_curve(curve, eps)
    ends = interval(summary.area_low, summary.area_high, "{:.4g}".format)
    values = ", ".join(f"{point.eps:.4g}: {percent(point.robust)}" for point in summary.points)
    return [
        ("median critical ε", f"{median_words(summary)}, {summary.norm}"),
        ("area under R", f"{summary.area:.4g} (95 % interval {ends}) up to ε {format_eps(summary.largest)}"),
        ("R at ε", f"{values}; band ±{100 * summary.reach:.1f} points"),
    ]


def paired_sizes(
    first: tuple[Curve, NDArray[np.int64]], second: tuple[Curve, NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The sizes of the samples that two curves share, larger ones cut at the end of the shorter curve, and that end.

    ``first``, ``second``: a curve and the numbers of its samples ``(N,)``.
    """
    (a, numbers_a), (b, numbers_b) = first, second
    _, of_a, of_b = np.intersect1d(numbers_a, numbers_b, return_indices=True)
    end = min(a.largest, b.largest)
    return (
        np.minimum(a.sizes[of_a], end).astype(np.float64),
        np.minimum(b.sizes[of_b], end).astype(np.float64),
        end,
    )


def find_other_search(first: Curve | None, second: Curve | None) -> str | None:
    """Why two curves cannot be compared, in one line; None if they can, or if one is missing.

    A longer search finds smaller perturbations of the same model.

    Example:
        >>> def curve(search: str) -> Curve:
        ...     return Curve(norm="Linf", largest=0.4, sizes=np.float32([0.1]), found_by=np.array([0]),
        ...                  attacks=(search,), seconds=1.0)
        >>> find_other_search(curve("minimal"), curve("minimal-2"))  # doctest: +ELLIPSIS
        'curves not compared: measured by different searches, minimal and minimal-2; repeat ...'
        >>> find_other_search(curve("minimal-2"), curve("minimal-2"))
    """
    if first is None or second is None or first.search == second.search:
        return None
    return (
        f"curves not compared: measured by different searches, {first.search} and {second.search}; repeat the older "
        "audit with --force"
    )


def count_larger(sizes: NDArray[np.float64], others: NDArray[np.float64]) -> int:
    """The number of samples whose first size is clearly larger."""
    return int((sizes > others * (1 + TIE) + 1e-12).sum())


def compare_curves(first: tuple[Curve, NDArray[np.int64]], second: tuple[Curve, NDArray[np.int64]]) -> CurveComparison:
    """Compare two curves, sample by sample, as :func:`paired_sizes` pairs them.

    Sizes beyond the end of a curve are unknown, so the test is the sign test: it uses only which of two is larger.
    """
    a, b, end = paired_sizes(first, second)
    n, larger_a, larger_b = len(a), count_larger(a, b), count_larger(b, a)
    difference = float((a - b).mean())
    error = 1.96 * float((a - b).std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    radii = np.unique(np.concatenate([[0.0], a, b]))
    radii = radii[radii < end]
    ordered_a, ordered_b = np.sort(a), np.sort(b)
    gaps = (np.searchsorted(ordered_b, radii, "right") - np.searchsorted(ordered_a, radii, "right")) / n
    at = int(np.abs(gaps).argmax()) if len(gaps) else 0
    return CurveComparison(
        n=n,
        largest=end,
        larger_a=larger_a,
        larger_b=larger_b,
        ties=n - larger_a - larger_b,
        p=mcnemar(larger_a, larger_b),
        area_difference=difference,
        low=max(-end, difference - error),
        high=min(end, difference + error),
        gap=float(gaps[at]) if len(gaps) else 0.0,
        gap_at=float(radii[at]) if len(gaps) else 0.0,
    )


def comparison_pairs(found: CurveComparison, a: str = "A", b: str = "B") -> list[tuple[str, str]]:
    """Names and values of a comparison, as people read them; ``a``, ``b`` name its sides."""
    ends = interval(found.low, found.high, "{:+.4g}".format)
    difference = f"{found.area_difference:+.4g} (95 % interval {ends})"
    return [
        ("critical ε larger", f"in {a} on {found.larger_a}, in {b} on {found.larger_b}, ties {found.ties}"),
        ("sign test p", p_value(found.p, "< ")),
        (f"area, {a} - {b}", f"{difference} up to ε {format_eps(found.largest)}"),
        (f"largest difference of R, {a} - {b}", f"{points(found.gap)} points at ε {found.gap_at:.4g}"),
    ]
