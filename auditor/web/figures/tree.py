"""The dendrogram beside a matrix, as one SVG path."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.records import Matrix

SHARE = 0.16
"""The width of the tree, as a share of the matrix's side."""


@dataclass(frozen=True)
class Tree:
    """``path`` in the coordinates of the matrix: x is 0 at its right edge, y is 0 at its top."""

    path: str


def tree_width(count: int, cell: float) -> int:
    """The width of the tree of so many classes."""
    return max(12, round(SHARE * count * cell))


def draw_tree(distance: Matrix, order: Sequence[int], cell: float) -> Tree | None:
    """Draw the average-linkage tree of the classes in this order, from the matrix's right edge outwards.

    None for fewer than 3 classes, for undefined distances, and where branches would cross in this order.
    """
    from auditor.clustering import average_linkage

    count = len(order)
    if count < 3 or not np.isfinite(distance).all():
        return None
    links = average_linkage(distance)[1]
    width = tree_width(count, cell)
    largest = float(links[:, 2].max()) or 1.0
    place = {leaf: position for position, leaf in enumerate(order)}
    first = [place[leaf] for leaf in range(count)]
    last, middle, height = list(first), [(position + 0.5) * cell for position in first], [0.0] * count
    parts = []
    for left, right, far, size in links:
        a, b = sorted((int(left), int(right)), key=lambda node: first[node])
        if last[a] + 1 != first[b] or last[b] - first[a] + 1 != int(size):
            return None
        x = max(0.0, float(far)) / largest * (width - 2)
        parts.append(f"M{height[a]:.1f} {middle[a]:.1f}H{x:.1f}V{middle[b]:.1f}H{height[b]:.1f}")
        first.append(first[a])
        last.append(last[b])
        middle.append((middle[a] + middle[b]) / 2)
        height.append(x)
    return Tree("".join(parts))
