"""Accuracies under common corruptions: as values, as a table, and paired between two audits image by image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.db.corruptions import shares_of
from auditor.records import Verdicts
from auditor.records.comparisons import PairedAccuracy
from auditor.records.corruptions import SEVERITIES, CorruptionScore
from auditor.records.results import ResultRow
from auditor.results.pairing import find_shared
from auditor.statistics import PairedMeans, mean_interval, wilson_interval

INTERVAL = "Student's t of the mean difference per image, 95 %"
TEST = "paired t-test"


@dataclass(frozen=True, kw_only=True)
class CorruptionAccuracy:
    """The accuracies under one corruption, from 0 to 1.

    Attributes:
        accuracy: the mean over the severities.
        low, high: the ends of its 95 % interval over images; None where the verdicts were pruned.
        severities: at severity 1 to 5.
        lows, highs: the ends of their 95 % Wilson intervals.
    """

    corruption: str
    accuracy: float
    low: float | None
    high: float | None
    severities: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def by_corruption(scores: Sequence[CorruptionScore]) -> list[CorruptionAccuracy]:
    """One row a corruption, in the order of the scores."""
    rows = []
    for start in range(0, len(scores), len(SEVERITIES)):
        part = scores[start : start + len(SEVERITIES)]
        verdicts = [score.verdicts for score in part if score.verdicts is not None]
        low, high = None, None
        if len(verdicts) == len(part):
            _, low, high = mean_interval(np.mean(verdicts, axis=0, dtype=np.float64))
        ends = [wilson_interval(score.right, score.n) for score in part]
        rows.append(
            CorruptionAccuracy(
                corruption=part[0].corruption,
                accuracy=sum(score.accuracy for score in part) / len(part),
                low=low,
                high=high,
                severities=tuple(score.accuracy for score in part),
                lows=tuple(low for low, _ in ends),
                highs=tuple(high for _, high in ends),
            )
        )
    return rows


def by_severity(scores: Sequence[CorruptionScore]) -> list[float]:
    """The mean accuracy over the corruptions at severity 1 to 5."""
    return [
        float(np.mean([score.accuracy for score in scores if score.severity == severity])) for severity in SEVERITIES
    ]


def corruption_values(scores: Sequence[CorruptionScore]) -> list[dict[str, Any]] | None:
    """As JSON prints them; ``verdicts`` has a list of N verdicts for each severity. None without corruptions."""
    if not scores:
        return None
    values = []
    for row in by_corruption(scores):
        mine = [score for score in scores if score.corruption == row.corruption]
        verdicts = [score.verdicts.tolist() for score in mine if score.verdicts is not None]
        values.append(
            {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(row).items()}
            | {"n": mine[0].n, "verdicts": verdicts or None}
        )
    return values


def pair_shares(
    first: tuple[ResultRow, Verdicts | None, NDArray[np.float64]],
    second: tuple[ResultRow, Verdicts | None, NDArray[np.float64]],
) -> PairedMeans:
    """Compare two audits by the share of corruptions under which each image is classified correctly.

    Args:
        first, second: the row of an audit, its verdicts on the clean images, and these shares.

    Raises:
        UsageError: the audits share no images.
    """
    _, of_first, of_second = find_shared(first[:2], second[:2])
    return PairedMeans.test(first[2][of_first], second[2][of_second])


def pair_corruptions(
    first: ResultRow, second: ResultRow, scores: Sequence[tuple[Verdicts | None, tuple[CorruptionScore, ...]]]
) -> PairedMeans:
    """The same from the scores of both audits."""
    sides = [
        (row, verdicts, shares_of(row.id, found))
        for row, (verdicts, found) in zip((first, second), scores, strict=True)
    ]
    return pair_shares(*sides)


def describe_means(paired: PairedMeans) -> PairedAccuracy:
    """A comparison of means. Images are no longer right or wrong, so the counts of a 2 x 2 table are None."""
    return PairedAccuracy(
        a=paired.first,
        b=paired.second,
        both=None,
        only_a=None,
        only_b=None,
        neither=None,
        difference=paired.difference,
        low=paired.low,
        high=paired.high,
        interval=INTERVAL,
        mcnemar_p=None,
        p_value=paired.p_value,
        test=TEST,
    )
