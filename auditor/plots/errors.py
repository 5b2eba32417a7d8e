"""One model's errors after the attacks: the confusion matrix and the attack success, in dendrogram order."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from auditor.clustering.display import as_similarity, scores_line, shares_by_row
from auditor.plots.model import NAMED, draw_scale, draw_tree, make_columns, name_classes
from auditor.plots.style import default_style
from auditor.records import Clustering, Matrix
from auditor.records.matrices import ERROR_NAMES
from auditor.text.numbers import counted

COLORS = "YlGnBu"


@default_style
def draw_errors(
    title: str,
    subtitle: str,
    classes: Sequence[str],
    superclasses: Sequence[str],
    confusion: NDArray[np.int64],
    success: Clustering,
) -> Figure:
    """Two matrices side by side, with the dendrogram of the attack success over both.

    Args:
        confusion: ``(K, K)`` counts, true class by class after the attacks; drawn as shares of each row.
        success: the share of class i that was broken into class j, with its scores.
    """
    figure, (left, right) = make_columns(title, subtitle, 2)
    shares, matrix, scores = shares_by_row(confusion), success.full_matrix(), success.scores
    undefined = f"not defined: {scores.reasons.get('gap', '')}"
    words = undefined if math.isnan(scores.gap) else scores_line(scores)
    distance = 1 - as_similarity(matrix)
    for column, values, kind, line, label in (
        (
            left,
            shares,
            "confusion",
            f"true class in rows, {counted(int(confusion.sum()), 'image')}",
            "share of the true class",
        ),
        (right, matrix, "attack_success", words, "share of the correctly classified images of the class in the row"),
    ):
        tree_axes, axes = column.subplots(2, 1, height_ratios=(1, 5))
        order = draw_tree(tree_axes, distance, scores.leaf_order)
        _draw_shares(axes, values[np.ix_(order, order)])
        name_classes(axes, [classes[k] for k in order], [superclasses[k] for k in order], superclasses)
        draw_scale(column, axes, label)
        tree_axes.set_title(f"{ERROR_NAMES[kind]}\n{line}", loc="left", fontsize=10)
    return figure


def _draw_shares(axes: Axes, shares: Matrix) -> None:
    """Shares from white to dark, and in percent if there is room; undefined ones are grey."""
    axes.set_facecolor("#eeeeee")
    largest: Any = np.nanmax(shares, initial=0) or 1.0
    axes.imshow(shares, cmap=COLORS, vmin=0, vmax=largest, aspect="auto")
    if len(shares) <= NAMED // 2:
        for (i, j), value in np.ndenumerate(shares):
            if value > 0:
                color = "w" if value > 0.5 * largest else "k"
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=color)
    for side in axes.spines.values():
        side.set_visible(False)
