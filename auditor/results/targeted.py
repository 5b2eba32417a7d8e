"""Success rates of targeted attacks, with their intervals, as values and in words."""

from dataclasses import asdict
from typing import Any

from auditor.records.targeted import TargetedScore
from auditor.statistics import wilson_interval
from auditor.text.numbers import interval, percent


def targeted_values(score: TargetedScore) -> dict[str, Any]:
    """The counts, and each rate with its 95 % Wilson interval; NaN where no sample has such a target."""
    values: dict[str, Any] = asdict(score)
    for kind, n, broken in (("within", score.within_n, score.within), ("across", score.across_n, score.across)):
        low, high = wilson_interval(broken, n)
        values |= {f"{kind}_rate": broken / n if n else float("nan"), f"{kind}_low": low, f"{kind}_high": high}
    return values


def targeted_words(score: TargetedScore) -> str:
    """Both rates in one line."""
    values = targeted_values(score)
    parts = [
        f"{percent(values[f'{kind}_rate'])} of {values[f'{kind}_n']} became a class {words} "
        f"({interval(values[f'{kind}_low'], values[f'{kind}_high'], percent)})"
        if values[f"{kind}_n"]
        else f"no sample has a target {words}"
        for kind, words in (("within", "of their superclass"), ("across", "of another superclass"))
    ]
    return "; ".join(parts)
