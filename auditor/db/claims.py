"""Compares measured accuracies with published ones whenever rows are read, because figures may be imported later."""

from typing import NamedTuple

from auditor.records import Published

MISMATCH_POINTS = 0.02
MISMATCH_Z = 3.2905
"""Normal quantile of a 99.9 % interval."""


class Claims(NamedTuple):
    """The published accuracies that one audit can be compared with; None where there is no such figure."""

    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    unreliable: bool | None = None


def claims_of(published: Published | None, norm: str, eps: float) -> Claims:
    """The published clean accuracy of a model, and the robust one if it is of this norm and radius."""
    if published is None:
        return Claims()
    same = published.norm == norm and published.eps is not None and same_eps(published.eps, eps)
    robust_accuracy = published.robust_accuracy if same else None
    return Claims(published.clean_accuracy, robust_accuracy, published.unreliable)


def same_eps(published: float, eps: float) -> bool:
    """Whether a published radius is ``eps``: within 0.1 %, or ``eps`` rounded to three decimals, as 0.031 is 8/255."""
    return abs(published - eps) <= 1e-3 * eps or abs(published - round(eps, 3)) < 1e-9


def mismatches(
    claims: Claims, clean_accuracy: float | None, robust_accuracy: float | None, n: int | None, *, protocol: str
) -> list[str]:
    """Flags for accuracies measured on ``n`` samples that contradict the published ones.

    Under attacks that are weaker than the published ones, only a lower robust accuracy is a contradiction.
    """
    flags = []
    if contradicts(clean_accuracy, claims.clean_accuracy, n):
        flags.append("clean_accuracy_mismatch")
    claimed = claims.robust_accuracy
    if robust_accuracy is None or claimed is None or not contradicts(robust_accuracy, claimed, n):
        return flags
    if protocol in ("standard", "full") or robust_accuracy < claimed:
        flags.append("robust_accuracy_mismatch")
    return flags


def contradicts(measured: float | None, claimed: float | None, n: int | None) -> bool:
    """Whether a claim is 2 points or more from a share of ``n`` samples, and outside its 99.9 % Wilson score interval.

    In closed form: the interval holds every share p with ``|measured - p| <= z sqrt(p (1 - p) / n)`` (Wilson, 1927).
    """
    if measured is None or claimed is None or not n:
        return False
    difference = abs(measured - claimed)
    return difference > MISMATCH_POINTS - 1e-9 and n * difference**2 > MISMATCH_Z**2 * claimed * (1 - claimed)
