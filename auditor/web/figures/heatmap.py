"""C or F of one audit in dendrogram order, with class names and outlined superclasses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from auditor.clustering.display import by_row, scores_line
from auditor.pixels import data_uri, interpolate, png_bytes
from auditor.records import Clustering, Matrix
from auditor.records.matrices import ERROR_NAMES, MATRIX_NAMES
from auditor.text.numbers import MINUS, matrix_entry, number, percent
from auditor.web.figures.colors import SERIES, UNDEFINED, anchors_of, diverging, sequential
from auditor.web.figures.tree import Tree, draw_tree, tree_width

MOST_CELLS = 40
"""Up to so many classes, every cell is drawn on its own; more classes become one picture."""
MOST_PIXELS = 500
"""The largest side of a picture in pixels; for more classes, neighbours are averaged."""
CELL, LETTER, LONGEST_NAME = 24, 6.6, 16


@dataclass(frozen=True)
class Cell:
    """One pair of classes: column and row, the colours of the cell and of its text, and its value as text."""

    column: int
    row: int
    fill: str
    ink: str
    value: str
    label: str


@dataclass(frozen=True)
class Block:
    """Adjacent classes of one superclass: the first class, their number, and the number of the colour."""

    start: int
    size: int
    family: str
    series: int


@dataclass(frozen=True)
class Heatmap:
    """Up to 40 classes have ``cells``; for more, ``cells`` is empty and ``picture`` is a data URI.

    ``ends``: what the two ends of the legend mean.
    ``tree``: the dendrogram to the right of the matrix; None if the classes are in another matrix's order. Its space,
    ``tree_width``, stays, so that all matrices of an audit have one size.
    """

    kind: str
    heading: str
    scores: str
    ends: tuple[str, str]
    names: tuple[str, ...]
    families: tuple[Block, ...]
    cells: tuple[Cell, ...]
    blocks: tuple[Block, ...]
    picture: str | None
    count: int
    cell: int
    margin: int
    legend: tuple[str, ...]
    tree_width: int
    tree: Tree | None = None


def heatmap(
    part: Clustering, classes: Sequence[str], superclasses: Sequence[str], order: Sequence[int] | None = None
) -> Heatmap | None:
    """Draw a matrix; None if it was pruned, or has no class.

    ``order``: of the classes, by default that of the matrix's own dendrogram, which is then drawn, too.

    Each row of F is divided by its maximum, as in the paper's figures.
    """
    if part.matrix is None or not classes:
        return None
    similarity = part.kind != "features"
    matrix = part.full_matrix()
    own = leaf_order(part, len(classes))
    order = own if order is None else list(order)
    ordered = (matrix if similarity else by_row(matrix))[np.ix_(order, order)]
    names = tuple(classes[k] for k in order)
    small = len(names) <= MOST_CELLS
    return Heatmap(
        kind=part.kind,
        heading=MATRIX_NAMES[part.kind],
        scores=_scores(part),
        ends=("−1, opposite", "1, equal") if similarity else ("0, equal", "1, largest distance of the row"),
        cells=tuple(_cells(ordered, names, similarity)) if small else (),
        picture=None if small else picture(ordered, similarity),
        legend=tuple(_color(-1 + 2 * k / 20 if similarity else k / 20, similarity)[0] for k in range(21)),
        tree=draw_tree(1 - matrix if similarity else matrix, order, CELL if small else 1) if order == own else None,
        **_layout(names, [superclasses[k] for k in order], superclasses),
    )


def leaf_order(part: Clustering, count: int) -> list[int]:
    """The classes in the order of the matrix's dendrogram; their own order if it has none."""
    order = part.scores.leaf_order
    return list(order) if len(order) == count else list(range(count))


def share_heatmap(
    kind: str, scores: str, shares: Matrix, order: Sequence[int], classes: Sequence[str], superclasses: Sequence[str]
) -> Heatmap:
    """Draw shares of classes in the rows that became classes in the columns: 0 is light, the largest share is dark."""
    ordered, names = shares[np.ix_(order, order)], tuple(classes[k] for k in order)
    largest = float(np.nanmax(ordered, initial=0)) or 1.0
    small = len(names) <= MOST_CELLS
    return Heatmap(
        kind=kind,
        heading=ERROR_NAMES[kind],
        scores=scores,
        ends=("0 %", percent(largest)),
        cells=tuple(_share_cells(ordered, largest, names)) if small else (),
        picture=None if small else picture(1 - ordered / largest, False),
        legend=tuple(_color(1 - k / 20, False)[0] for k in range(21)),
        **_layout(names, [superclasses[k] for k in order], superclasses),
    )


def _share_cells(shares: Matrix, largest: float, names: Sequence[str]) -> list[Cell]:
    cells = []
    for (i, j), value in np.ndenumerate(shares):
        fill, ink = _color(1 - float(value) / largest, False)
        text = "not defined" if math.isnan(value) else percent(float(value))
        short = f"{100 * value:.0f}" if value > 0 else ""
        cells.append(Cell(j, i, fill, ink, short, f"{names[i]} to {names[j]}: {text}"))
    return cells


def _layout(names: tuple[str, ...], families: Sequence[str], all_families: Sequence[str]) -> dict[str, Any]:
    """The fields of a heatmap that depend on the classes in their order, and not on the matrix."""
    blocks, small = _blocks(families, list(dict.fromkeys(all_families))), len(names) <= MOST_CELLS
    return {
        "names": names,
        "families": tuple({block.family: block for block in blocks}.values()),
        "blocks": tuple(block for block in blocks if block.size > 1),
        "count": len(names),
        "cell": CELL if small else 1,
        "tree_width": tree_width(len(names), CELL if small else 1),
        "margin": round(16 + LETTER * min(LONGEST_NAME, max(map(len, names)))) if small else 0,
    }


def picture(matrix: Matrix, similarity: bool) -> str:
    """Encode a matrix as PNG in a data URI."""
    return data_uri(png(matrix, similarity))


def png(matrix: Matrix, similarity: bool, *, least: int = 1) -> bytes:
    """Encode a matrix as PNG, at most 500 pixels per side; undefined entries are grey.

    Entries are squares of so many pixels that the picture has ``least`` per side, or a little more.
    """
    small = _means(matrix)
    low = -1.0 if similarity else 0.0
    table = np.array([interpolate(anchors_of(similarity), k / 255) for k in range(256)], np.uint8)
    share = np.nan_to_num((small - low) / (1 - low)).clip(0, 1)
    pixels = table[(share * 255).round().astype(np.uint8)]
    pixels[np.isnan(small)] = int(UNDEFINED[1:3], 16)
    square = math.ceil(least / len(pixels))
    return png_bytes(pixels.repeat(square, axis=0).repeat(square, axis=1))


def _means(matrix: Matrix) -> NDArray[np.float64]:
    side = len(matrix)
    if side <= MOST_PIXELS:
        return matrix.astype(np.float64)
    step = math.ceil(side / MOST_PIXELS)
    starts = np.arange(0, side, step)
    sums = np.add.reduceat(np.add.reduceat(matrix.astype(np.float64), starts, axis=0), starts, axis=1)
    sizes = np.diff([*starts, side])
    return cast("NDArray[np.float64]", sums / np.outer(sizes, sizes))


def _cells(matrix: Matrix, names: Sequence[str], similarity: bool) -> list[Cell]:
    cells = []
    for (i, j), value in np.ndenumerate(matrix):
        text = "not defined" if math.isnan(value) else number(value, minus=MINUS)
        fill, ink = _color(float(value), similarity)
        short = "" if math.isnan(value) else matrix_entry(value)
        cells.append(Cell(j, i, fill, ink, short, f"{names[i]} and {names[j]}: {text}"))
    return cells


def _color(value: float, similarity: bool) -> tuple[str, str]:
    if math.isnan(value):
        return UNDEFINED, "#000000"
    return diverging(value) if similarity else sequential(value)


def _blocks(families: Sequence[str], all_families: Sequence[str]) -> list[Block]:
    starts = [k for k, family in enumerate(families) if k == 0 or families[k - 1] != family]
    return [
        Block(start, end - start, families[start], all_families.index(families[start]) % SERIES)
        for start, end in zip(starts, [*starts[1:], len(families)], strict=True)
    ]


def _scores(part: Clustering) -> str:
    scores = part.scores
    if math.isnan(scores.gap):
        return f"gap not defined: {scores.reasons.get('gap', 'no reason was stored')}"
    return scores_line(scores, error=True)
