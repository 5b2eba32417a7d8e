"""Certificates as values and in words."""

from typing import Any

from auditor.records.certificates import NO_BOUND, Certificate
from auditor.records.results import ResultRow
from auditor.text.numbers import interval, percent

NOT_THE_MODEL = "of the smoothed model, which is another classifier: no bound of this model's robust accuracy"


def certificate_values(certificate: Certificate) -> dict[str, Any]:
    """All fields as plain values."""
    radii = certificate.radii
    return {
        "method": certificate.method,
        "parameters": certificate.parameters,
        "certified": certificate.certified.tolist(),
        "accuracy": certificate.accuracy,
        "low": certificate.low,
        "high": certificate.high,
        "radii": None if radii is None else radii.tolist(),
        "clean_accuracy": certificate.clean_accuracy,
        "abstained": certificate.abstained,
    }


def certificate_words(certificate: Certificate) -> str:
    """The certified accuracy with its interval, and how it came about, in one line."""
    figure = f"{percent(certificate.accuracy)} ({interval(certificate.low, certificate.high, percent)})"
    known = certificate.parameters
    if certificate.method == "smoothing":
        return (
            f"{figure} {NOT_THE_MODEL}; its clean accuracy is {percent(certificate.clean_accuracy)}, it abstains on "
            f"{percent(certificate.abstained)} (sigma {known['sigma']:g}, {known['first']} and {known['draws']} draws, "
            f"alpha {known['alpha']:g})"
        )
    if not certificate.certified.any():
        return f"{figure}: {NO_BOUND}"
    return f"{figure}, {known['by_intervals']} samples by intervals, {known['by_lines']} by lines"


def range_words(row: ResultRow) -> str | None:
    """Between which two ends the robust accuracy lies; None without both."""
    if row.certified_accuracy is None or row.robust_accuracy is None:
        return None
    return (
        f"on these images the robust accuracy is at least {percent(row.certified_accuracy)} (certified) and at most "
        f"{percent(row.robust_accuracy)} (attacked)"
    )
