"""One model: C and F in dendrogram order, with class names and superclasses."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import dendrogram

from auditor.clustering import average_linkage
from auditor.records import Clustering, ClusteringScores, Matrix

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Paul Tol's bright scheme: told apart by colour-blind readers, and in print."""


def draw_model(
    title: str,
    subtitle: str,
    classes: Sequence[str],
    superclasses: Sequence[str],
    weights: Clustering | None,
    features: Clustering | None,
) -> Figure:
    """C (cosine similarity of the class templates) and F (distance of the class means), where they were measured.

    F is divided by each row's maximum, as in the paper's figures; the scores under it are those of the symmetric F.
    """
    parts = [part for part in (weights, features) if part is not None]
    figure = Figure(figsize=(6.6 * len(parts), 7.9), layout="constrained")
    (head,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 9))
    head.text(0.01, 0.72, title, ha="left", va="center", fontsize=16, fontweight="bold")
    head.text(0.01, 0.25, subtitle, ha="left", va="center", fontsize=9.5, color="#555555")
    for column, part in zip(body.subfigures(1, len(parts), squeeze=False)[0], parts, strict=True):
        _draw_part(column, part, classes, superclasses)
    return figure


def _draw_part(figure: Any, part: Clustering, classes: Sequence[str], superclasses: Sequence[str]) -> None:
    similarity = part.kind != "features"
    tree_axes, axes = figure.subplots(2, 1, height_ratios=(1, 5))
    distance = 1 - part.matrix if similarity else part.matrix
    order = _draw_tree(tree_axes, distance, part.scores.leaf_order)
    shown = part.matrix if similarity else _by_row(part.matrix)
    limits = (-1.0, 1.0) if similarity else (0.0, 1.0)
    _draw_matrix(axes, shown[np.ix_(order, order)], limits, "RdBu_r" if similarity else "YlGnBu_r")
    _name_classes(axes, [classes[k] for k in order], [superclasses[k] for k in order], superclasses)
    bar = figure.colorbar(axes.images[0], ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label("cosine similarity of class templates" if similarity else "distance, each row by its maximum", size=8)
    tree_axes.set_title(_heading(part.scores, similarity), loc="left", fontsize=10)


def _heading(scores: ClusteringScores, similarity: bool) -> str:
    name = "C, linearized network" if similarity else "F, class means of the logits"
    if math.isnan(scores.gap):
        return f"{name}\nnot defined: {textwrap.shorten(scores.reasons.get('gap', ''), 70, placeholder='…')}"
    p_value = "p < 0.001" if scores.p_value < 0.001 else f"p = {scores.p_value:.3f}"
    values = f"gap {scores.gap:.2f} ({p_value}), intra {scores.intra:.2f}, inter {scores.inter:.2f}"
    return f"{name}\n{values}".replace("-", "−")


def _by_row(matrix: Matrix) -> Matrix:
    largest = np.nan_to_num(matrix).max(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    shares[np.isnan(matrix)] = np.nan
    return shares


def _draw_tree(axes: Axes, distance: Matrix, fallback: Sequence[int]) -> list[int]:
    """The dendrogram over the columns; returns their order."""
    axes.set_axis_off()
    if len(distance) < 3 or not np.isfinite(distance).all():
        return list(fallback)
    drawn = dendrogram(average_linkage(distance)[1], no_plot=True)
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot((np.array(x) - 5) / 10, y, color="#333333", linewidth=1)
    axes.set_xlim(-0.5, len(distance) - 0.5)
    axes.set_ylim(bottom=0)
    return [int(leaf) for leaf in drawn["leaves"]]


def _draw_matrix(axes: Axes, matrix: Matrix, limits: tuple[float, float], colors: str | Colormap) -> None:
    axes.set_facecolor("#eeeeee")  # what is not defined stays grey
    axes.imshow(matrix, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto")
    if len(matrix) <= 12:
        middle, reach = sum(limits) / 2, (limits[1] - limits[0]) / 2
        for (i, j), value in np.ndenumerate(matrix):
            if math.isnan(value):
                continue
            dark = abs(value - middle) > 0.6 * reach if limits[0] < 0 else value < 0.4
            axes.text(
                j,
                i,
                f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−"),
                ha="center",
                va="center",
                fontsize=7,
                color="w" if dark else "k",
            )
    for side in axes.spines.values():
        side.set_visible(False)


def _name_classes(axes: Axes, names: Sequence[str], families: Sequence[str], all_families: Sequence[str]) -> None:
    """Tick labels in their superclass's colour, and a frame around neighbours of one superclass."""
    colors = {family: PALETTE[i % len(PALETTE)] for i, family in enumerate(dict.fromkeys(all_families))}
    count = len(names)
    if count <= 40:
        axes.set_xticks(range(count), names, rotation=45, ha="right", fontsize=9)
        axes.set_yticks(range(count), names, fontsize=9)
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            for label, family in zip(labels, families, strict=True):
                label.set_color(colors[family])
                label.set_fontweight("bold")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0)
    start = 0
    for end in range(1, count + 1):
        if end == count or families[end] != families[start]:
            if end - start > 1:
                corner, side = (start - 0.5, start - 0.5), end - start
                axes.add_patch(
                    Rectangle(corner, side, side, fill=False, edgecolor=colors[families[start]], linewidth=2.5)
                )
            start = end
