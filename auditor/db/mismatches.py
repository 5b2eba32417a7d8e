"""Compares measured accuracies with published ones whenever rows are read, because figures may be imported later."""

from typing import Any, NamedTuple

from auditor.records.corruptions import PUBLISHED
from auditor.records.protocols import AUTOATTACK_STRENGTH

MISMATCH_POINTS = 0.02
MISMATCH_Z = 3.2905
"""Normal quantile of a 99.9 % interval."""


class Claims(NamedTuple):
    """The published accuracies that one audit can be compared with; None where there is no such figure."""

    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    unreliable: bool | None = None


class Figures(NamedTuple):
    """The published figures of a model that claims are made of; all None without any."""

    norm: str | None
    eps: float | None
    clean_accuracy: float | None
    robust_accuracy: float | None
    corruptions_accuracy: float | None
    unreliable: bool | None


def claims_of(audit: Any, published: Any) -> Claims:
    """The published clean accuracy of an audit's model, and the robust one if the threat model is the same.

    The accuracy under corruptions is published for published files; generated pictures differ in strength from them.

    ``audit`` and ``published`` are records, or rows with these columns.
    """
    if published is None:
        return Claims()
    if audit.norm == PUBLISHED:
        return Claims(published.clean_accuracy, published.corruptions_accuracy, None)
    same = published.norm == audit.norm and published.eps is not None and same_eps(published.eps, audit.eps)
    robust_accuracy = published.robust_accuracy if same else None
    return Claims(published.clean_accuracy, robust_accuracy, published.unreliable)


def same_eps(published: float, eps: float) -> bool:
    """Whether a published radius is ``eps``: within 0.1 %, or ``eps`` rounded to three decimals, as 0.031 is 8/255."""
    return abs(published - eps) <= 1e-3 * eps or abs(published - round(eps, 3)) < 1e-9


def mismatches(audit: Any, claims: Claims) -> list[str]:
    """Flags for measured accuracies that contradict the published ones.

    The mean over corruptions varies less over images than a share of the same size, so its bound is a wide one. Under
    attacks that are weaker than the published ones, only a lower robust accuracy is a contradiction.
    """
    flags = []
    if contradicts(audit.clean_accuracy, claims.clean_accuracy, audit.n):
        flags.append("clean_accuracy_mismatch")
    measured, claimed = audit.robust_accuracy, claims.robust_accuracy
    if measured is None or claimed is None or not contradicts(measured, claimed, audit.n):
        return flags
    if audit.protocol in AUTOATTACK_STRENGTH or measured < claimed or audit.norm == PUBLISHED:
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
