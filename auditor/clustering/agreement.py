"""Silhouette and adjusted Rand index, as in scikit-learn, whose import takes too long."""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def silhouette(distance: NDArray[np.float64], labels: Labels) -> float:
    """The mean silhouette (Rousseeuw, 1987), -1 to 1; a class alone in its family counts 0.

    Args:
        distance: ``(K, K)`` float64, 0 or more, exactly 0 on the diagonal.
        labels: ``(K,)`` int64, from 0, with two families or more.

    Example:
        >>> distance = np.array([[0, 1, 4], [1, 0, 4], [4, 4, 0.0]])
        >>> silhouette(distance, np.array([0, 0, 1]))
        0.5
    """
    families = np.eye(int(labels.max()) + 1)[labels]
    sizes = families.sum(0)
    sums = distance @ families
    own = families.astype(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = sums[own] / (sizes[labels] - 1)
        beyond = np.where(own, np.inf, sums / sizes).min(1)
        each = (beyond - within) / np.maximum(within, beyond)
    return float(np.nan_to_num(np.where(sizes[labels] > 1, each, 0.0)).mean())


def adjusted_rand(first: Labels, second: Labels) -> float:
    """The Rand index adjusted for chance (Hubert and Arabie, 1985): 1 for equal labellings, about 0 by chance.

    Example:
        >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        1.0
    """
    one, other = (np.unique(labels, return_inverse=True)[1] for labels in (first, second))
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1), np.int64)
    np.add.at(table, (one, other), 1)
    both, rows, columns = (int((counts**2).sum()) for counts in (table, table.sum(1), table.sum(0)))
    # Ordered pairs of two samples: together in both, in the second alone, in the first alone, in neither.
    n = len(one)
    together, second_only, first_only = both - n, columns - both, rows - both
    neither = n * n - rows - columns + both
    if second_only == 0 and first_only == 0:
        return 1.0
    above = 2.0 * (together * neither - first_only * second_only)
    chance = (together + first_only) * (first_only + neither) + (together + second_only) * (second_only + neither)
    return above / chance
