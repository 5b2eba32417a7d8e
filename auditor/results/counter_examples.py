"""Counter-examples: models that are far from the trend of two measures, such as the gap and robust accuracy."""

from collections.abc import Sequence

import numpy as np

from auditor.clustering.association import rank_correlation, ranks
from auditor.records.results import PlotModel

FEWEST = 4
"""With fewer models, ranks say nothing about counter-examples."""


def find_counter_examples(models: Sequence[PlotModel]) -> list[tuple[int, float, float, float]]:
    """The unflagged models whose ranks by the two measures differ by half of the zoo or more, the farthest first.

    Each with its ID, its ranks by x and by y, and the difference along the trend. If the measures are correlated
    negatively, the ranks of the first are counted from the largest value.
    """
    known = [one for one in models if not one.flags]
    if len(known) < FEWEST:
        return []
    x_ranks, y_ranks = (ranks(np.array([getattr(one, axis) for one in known], np.float64)) for axis in ("x", "y"))
    along = len(known) + 1 - x_ranks if is_falling(known) else x_ranks
    found = [
        (one.id, float(x), float(y), float(y - expected))
        for one, x, y, expected in zip(known, x_ranks, y_ranks, along, strict=True)
        if abs(y - expected) >= len(known) / 2
    ]
    return sorted(found, key=lambda one: (-abs(one[3]), one[0]))


def is_falling(known: Sequence[PlotModel]) -> bool:
    """Whether the second measure falls where the first one rises."""
    x, y = (np.array([getattr(one, axis) for one in known], np.float64) for axis in ("x", "y"))
    return len(set(x)) > 1 and len(set(y)) > 1 and rank_correlation(x, y) < 0
