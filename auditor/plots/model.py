"""One model: C and F in dendrogram order, with class names and superclasses."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from scipy.cluster.hierarchy import dendrogram

from auditor.clustering import average_linkage
from auditor.clustering.display import by_row, scores_line
from auditor.plots.style import default_style
from auditor.records import Clustering, Matrix
from auditor.records.matrices import MATRIX_NAMES
from auditor.text.numbers import matrix_entry

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Paul Tol's bright scheme, which is distinct for colour-blind readers and in print."""

NAMED = 40
"""The largest number of classes with names; for more, a strip shows the superclasses by colour."""


@default_style
def draw_model(
    title: str, subtitle: str, classes: Sequence[str], superclasses: Sequence[str], parts: Sequence[Clustering]
) -> Figure:
    """Matrices of one audit side by side: C (cosine similarity of the class templates), C without its leading direction
    where its rank has collapsed, and F (distance of the class means).

    Each row of F is divided by its maximum, as in the paper's figures; the scores are those of the symmetric F. For
    many classes, an F that lacks some of them is left out.
    """
    drawn = [part for part in parts if len(classes) <= NAMED or not math.isnan(part.scores.gap)] or parts[:1]
    if len(drawn) < len(parts):
        subtitle += f". F: {_heading(parts[-1]).splitlines()[1]}"
    figure, columns = make_columns(title, subtitle, len(drawn))
    for column, part in zip(columns, drawn, strict=True):
        draw_part(column, part, classes, superclasses)
    return figure


def make_columns(title: str, subtitle: str, count: int) -> tuple[Figure, Any]:
    """A figure with a title, and its columns: one subfigure for each of ``count`` matrices."""
    figure = Figure(figsize=(6.6 * count, 7.9), layout="constrained")
    (head,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 9))
    head.text(0.01, 0.78, title, ha="left", va="center", fontsize=16, fontweight="bold")
    lines = textwrap.fill(subtitle, 95 * count)
    head.text(0.01, 0.25, lines, ha="left", va="center", fontsize=9.5, color="#555555")
    return figure, body.subfigures(1, count, squeeze=False)[0]


def draw_part(
    figure: Any, part: Clustering, classes: Sequence[str], superclasses: Sequence[str], before: str = ""
) -> None:
    """Draw one matrix with its dendrogram and heading, which begins with the text ``before``."""
    similarity = part.kind != "features"
    tree_axes, axes = figure.subplots(2, 1, height_ratios=(1, 5))
    matrix = part.full_matrix()
    distance = 1 - matrix if similarity else matrix
    order = draw_tree(tree_axes, distance, part.scores.leaf_order)
    shown = matrix if similarity else by_row(matrix)
    limits = (-1.0, 1.0) if similarity else (0.0, 1.0)
    _draw_matrix(axes, shown[np.ix_(order, order)], limits, "RdBu_r" if similarity else "YlGnBu_r")
    name_classes(axes, [classes[k] for k in order], [superclasses[k] for k in order], superclasses)
    draw_scale(
        figure, axes, "cosine similarity of class templates" if similarity else "distance, each row by its maximum"
    )
    tree_axes.set_title(before + _heading(part), loc="left", fontsize=10)


def draw_scale(figure: Any, axes: Axes, label: str) -> None:
    """The scale of colours below a matrix."""
    bar = figure.colorbar(axes.images[0], ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label(label, size=8)


def _heading(part: Clustering) -> str:
    name, scores = MATRIX_NAMES[part.kind], part.scores
    if math.isnan(scores.gap):
        return f"{name}\nnot defined: {textwrap.shorten(scores.reasons.get('gap', ''), 70, placeholder='…')}"
    return f"{name}\n{scores_line(scores)}"


def draw_tree(axes: Axes, distance: Matrix, fallback: Sequence[int]) -> list[int]:
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
    axes.set_facecolor("#eeeeee")  # undefined values stay grey
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
                matrix_entry(value),
                ha="center",
                va="center",
                fontsize=7,
                color="w" if dark else "k",
            )
    for side in axes.spines.values():
        side.set_visible(False)


def name_classes(axes: Axes, names: Sequence[str], families: Sequence[str], all_families: Sequence[str]) -> None:
    """Tick labels in their superclass's colour, and a frame around neighbours of one superclass."""
    colors = superclass_colors(list(dict.fromkeys(all_families)))
    count = len(names)
    if count <= NAMED:
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
    if count > NAMED:
        _show_strip(axes, [list(colors).index(family) for family in families], colors)
        return
    start = 0
    for end in range(1, count + 1):
        if end == count or families[end] != families[start]:
            if end - start > 1:
                corner, side = (start - 0.5, start - 0.5), end - start
                axes.add_patch(
                    Rectangle(corner, side, side, fill=False, edgecolor=colors[families[start]], linewidth=2.5)
                )
            start = end


def superclass_colors(families: Sequence[str]) -> dict[str, str]:
    """A colour for each superclass: from the palette if it has enough, else evenly spaced hues."""
    if len(families) <= len(PALETTE):
        return dict(zip(families, PALETTE, strict=False))
    hues = colormaps["turbo"](np.linspace(0.03, 0.97, len(families)))
    return {family: to_hex(hue) for family, hue in zip(families, hues, strict=True)}


def _show_strip(axes: Axes, families: Sequence[int], colors: dict[str, str]) -> None:
    """Show the superclass of each row beside it, and a legend below."""
    strip = axes.inset_axes((-0.035, 0, 0.025, 1))
    strip.imshow(np.array(families)[:, None], aspect="auto", cmap=ListedColormap(list(colors.values())),
                 vmin=-0.5, vmax=len(colors) - 0.5, interpolation="nearest")  # fmt: skip
    strip.set_axis_off()
    marks = [Patch(color=color, label=family) for family, color in colors.items()]
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4, fontsize=6.5, frameon=False)
