"""Matrices to draw, and the texts of a figure."""

import numpy as np
from matplotlib.figure import Figure

from auditor.clustering import clustering_scores, distance_scores
from auditor.records import Clustering


def parts(classes: int, *kinds: str) -> tuple[list[str], list[str], list[Clustering]]:
    """Random matrices of ``classes`` classes in superclasses of five."""
    names = [f"class {k}" for k in range(classes)]
    families = [f"family {k // 5}" for k in range(classes)]
    points = np.random.default_rng(0).normal(size=(classes, 8))
    c = np.corrcoef(points)
    made = []
    for kind in kinds:
        matrix = 1 - c if kind == "features" else c
        scores = (distance_scores if kind == "features" else clustering_scores)(matrix, families, permutations=9)
        made.append(Clustering(kind=kind, scores=scores, matrix=matrix))
    return names, families, made


def texts(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [one.get_text() for one in figure.findobj(lambda artist: hasattr(artist, "get_text")) if one.get_text()]
