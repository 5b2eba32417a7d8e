"""What was published beside what was measured, compared whenever rows are read: figures may be imported later."""

from typing import Any

from auditor.records import Published

Row = dict[str, Any]

MISMATCH_POINTS = 0.02
MISMATCH_Z = 3.2905
"""Normal quantile of a 99.9 % interval."""


def claims_of(row: Row, published: Published | None) -> Row:
    """The claims about a row's model: its clean accuracy, and its robust one where the threat model is the same."""
    if published is None:
        return {"claimed_clean_accuracy": None, "claimed_robust_accuracy": None, "claimed_unreliable": None}
    same = published.norm == row["norm"] and published.eps is not None and same_eps(published.eps, row["eps"])
    return {
        "claimed_clean_accuracy": published.clean_accuracy,
        "claimed_robust_accuracy": published.robust_accuracy if same else None,
        "claimed_unreliable": published.unreliable,
    }


def same_eps(published: float, eps: float) -> bool:
    """Whether a published radius is this one: within 0.1 %, or rounded to three decimals, as 0.031 is 8/255."""
    return abs(published - eps) <= 1e-3 * eps or abs(published - round(eps, 3)) < 1e-9


def mismatches(row: Row) -> list[str]:
    """Flags of a row whose measured accuracies are not those that were claimed.

    Under attacks weaker than the published ones only a lower robust accuracy is a contradiction.
    """
    flags = []
    if contradicts(row["clean_accuracy"], row["claimed_clean_accuracy"], row["n"]):
        flags.append("clean_accuracy_mismatch")
    measured, claimed = row["robust_accuracy"], row["claimed_robust_accuracy"]
    if contradicts(measured, claimed, row["n"]) and (row["protocol"] in ("standard", "full") or measured < claimed):
        flags.append("robust_accuracy_mismatch")
    return flags


def contradicts(measured: float | None, claimed: float | None, n: int | None) -> bool:
    """Whether a claim lies 2 points or more from a share of ``n``, and outside its 99.9 % Wilson score interval.

    In closed form: the interval holds every share p with ``|measured - p| <= z sqrt(p (1 - p) / n)`` (Wilson, 1927).
    """
    if measured is None or claimed is None or not n:
        return False
    apart = abs(measured - claimed)
    return apart > MISMATCH_POINTS - 1e-9 and n * apart**2 > MISMATCH_Z**2 * claimed * (1 - claimed)
