"""``auditor results show``: the accuracy under each corruption, at each severity."""

from collections.abc import Sequence

import numpy as np

from auditor.cli.output.tables import print_table
from auditor.records.corruptions import SEVERITIES, CorruptionScore
from auditor.results.corruptions import by_corruption, by_severity
from auditor.text.numbers import interval, percent_number


def print_corruptions(scores: Sequence[CorruptionScore]) -> None:
    """A row for each corruption, and one for their mean; in percent."""
    rows = by_corruption(scores)
    table = [
        (
            row.corruption,
            percent_number(row.accuracy)
            if row.low is None or row.high is None
            else f"{percent_number(row.accuracy)} ({interval(row.low, row.high, percent_number)})",
            *map(percent_number, row.severities),
        )
        for row in rows
    ]
    mean = float(np.mean([row.accuracy for row in rows]))
    print_table(
        ("corruption", "accuracy % (95 %)", *(f"severity {severity}" for severity in SEVERITIES)),
        [*table, ("mean", percent_number(mean), *map(percent_number, by_severity(scores)))],
    )
