"""Robust accuracy as bars: after each attack, and the interval of one row."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records import AttackScore
from auditor.records.corruptions import CorruptionScore
from auditor.records.results import ResultRow
from auditor.results.corruptions import by_corruption
from auditor.statistics import wilson_interval
from auditor.text.numbers import counted, interval, percent, percent_number


@dataclass(frozen=True)
class Bar:
    """A percentage, 0 to 100, and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    label: str


def attack_bars(row: ResultRow, attacks: Sequence[AttackScore]) -> tuple[Bar, ...]:
    """Draw the clean accuracy, and the accuracy after each attack of the cascade."""
    n = row.n
    if not n or row.clean_accuracy is None:
        return ()
    bars = [_bar("clean", row.clean_accuracy, n, f"correct on {round(row.clean_accuracy * n)} of {n} images")]
    for score in attacks:
        details = f"run on {counted(score.n, 'image')}, broke {score.broken}, {score.seconds:.1f} s"
        bars.append(_bar(score.attack, score.robust_accuracy, n, details))
    return tuple(bars)


def corruption_bars(row: ResultRow, scores: Sequence[CorruptionScore]) -> tuple[Bar, ...]:
    """Draw the clean accuracy, and the mean accuracy over the severities of each corruption."""
    if not row.n or row.clean_accuracy is None:
        return ()
    bars = [
        _bar("clean", row.clean_accuracy, row.n, f"correct on {round(row.clean_accuracy * row.n)} of {row.n} images")
    ]
    for part in by_corruption(scores):
        low, high = part.accuracy if part.low is None else part.low, part.accuracy if part.high is None else part.high
        severities = ", ".join(percent_number(share) for share in part.severities)
        label = f"{part.corruption}: {percent(part.accuracy)}; at severity 1 to 5 {severities} %"
        bars.append(Bar(part.corruption, 100 * part.accuracy, 100 * low, 100 * high, label))
    return tuple(bars)


def interval_bar(row: ResultRow) -> Bar | None:
    """Draw a row's robust accuracy with its interval; None without attacks."""
    if row.robust_interval is None:
        return None
    value, low, high = row.robust_interval
    label = f"{percent(value)} ({interval(low, high, percent_number)})"
    return Bar(row.model, 100 * value, 100 * low, 100 * high, label)


def range_bar(row: ResultRow) -> Bar | None:
    """Draw the range from the certified accuracy to the robust accuracy; None without both."""
    certified, robust = row.certified_accuracy, row.robust_accuracy
    if certified is None or robust is None:
        return None
    label = f"from {percent(certified)} certified to {percent(robust)} after the attacks"
    return Bar(row.model, 100 * robust, 100 * min(certified, robust), 100 * robust, label)


def _bar(name: str, share: float, n: int, details: str) -> Bar:
    low, high = wilson_interval(round(share * n), n)
    return Bar(name, 100 * share, 100 * low, 100 * high, f"{name}: {percent(share)}; {details}")
