"""Robust accuracy as bars: after each attack, and the interval of one row."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records import AttackScore
from auditor.results.ranking import Row
from auditor.statistics import wilson_interval


@dataclass(frozen=True)
class Bar:
    """A percentage, 0 to 100, and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    label: str


def attack_bars(row: Row, attacks: Sequence[AttackScore]) -> tuple[Bar, ...]:
    """Draw the clean accuracy, and the accuracy after each attack of the cascade."""
    n = row["n"]
    if not n or row["clean_accuracy"] is None:
        return ()
    bars = [_bar("clean", row["clean_accuracy"], n, f"correct on {round(row['clean_accuracy'] * n)} of {n} images")]
    for score in attacks:
        details = f"run on {score.n} images, broke {score.broken}, {score.seconds:.1f} s"
        bars.append(_bar(score.attack, score.robust_accuracy, n, details))
    return tuple(bars)


def interval_bar(row: Row) -> Bar | None:
    """Draw a row's robust accuracy with its interval; None without attacks."""
    if row["robust_accuracy"] is None:
        return None
    value, low, high = (100 * row[name] for name in ("robust_accuracy", "robust_low", "robust_high"))
    return Bar(row["model"], value, low, high, f"{value:.1f} % ({low:.1f} to {high:.1f})")


def _bar(name: str, share: float, n: int, details: str) -> Bar:
    low, high = wilson_interval(round(share * n), n)
    return Bar(name, 100 * share, 100 * low, 100 * high, f"{name}: {100 * share:.1f} %; {details}")
