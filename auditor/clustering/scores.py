"""How strongly a matrix of classes clusters along superclasses: one function for similarities, one for distances."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from auditor.clustering.agreement import adjusted_rand, silhouette
from auditor.clustering.association import rank_correlation
from auditor.clustering.matrices import as_matrix, checked_labels
from auditor.clustering.permutation import gap_p_value
from auditor.errors import InputError
from auditor.records import ClusteringScores, Matrix

PERMUTATIONS = 9_999
RANK_COLLAPSE = 1.5
"""With an effective rank below this, C is one pattern with signs: scores are shown, but not ranked."""


def clustering_scores(
    correlation: ArrayLike,
    superclasses: Sequence[Hashable],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    levels: Sequence[Sequence[Hashable]] = (),
) -> ClusteringScores:
    """Scores of a class correlation matrix under the distance ``1 - C``.

    Args:
        correlation: C, ``(K, K)`` in [-1, 1], symmetric.
        superclasses: K labels, one a class.
        permutations: their number for the p-value; if there are fewer relabellings, all are enumerated.
        seed: the seed for the permutations.
        levels: the labels at each level of a hierarchy, the finest first, for ``tree_spearman``.

    Returns:
        Scores; undefined ones are NaN, with a reason.

    Raises:
        InputError: the matrix is not ``(K, K)`` and symmetric with K labels.

    Example:
        >>> c = [[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, 0.6], [0, 0, 0.6, 1]]
        >>> scores = clustering_scores(c, ["top", "top", "shoe", "shoe"])
        >>> round(scores.intra, 2), scores.inter, round(scores.gap, 2), scores.rand_index
        (0.7, 0.0, 0.7, 1.0)
    """
    similarity = _checked(correlation, superclasses)
    scores = _scores(1 - similarity, superclasses, permutations, seed, levels, ZERO_TEMPLATE)
    return _replace_similarity(scores, similarity)


def distance_scores(
    distance: ArrayLike,
    superclasses: Sequence[Hashable],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    levels: Sequence[Sequence[Hashable]] = (),
) -> ClusteringScores:
    """The same scores of a feature distance matrix F under the distance ``F / max(F)``; gap = inter - intra.

    Arguments and errors as :func:`clustering_scores`; ``distance`` is ``(K, K)``, 0 or more, symmetric.
    """
    distance = _checked(distance, superclasses)
    largest = np.nanmax(distance, initial=0)
    return _scores(
        distance / largest if largest > 0 else distance, superclasses, permutations, seed, levels, NO_SAMPLES
    )


def effective_rank(correlation: ArrayLike) -> float:
    """``(sum of eigenvalues)^2 / sum of their squares``, from 1 to K; NaN for a matrix that is not finite."""
    matrix = np.asarray(correlation, np.float64)
    if not np.isfinite(matrix).all():
        return math.nan
    # The sum of squared eigenvalues of a symmetric matrix is its squared Frobenius norm.
    return float(np.trace(matrix) ** 2 / (matrix**2).sum())


def average_linkage(distance: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The condensed distances ``(K (K - 1) / 2,)`` and SciPy's tree ``(K - 1, 4)`` of agglomerative clustering."""
    pairs = ~np.eye(len(distance), dtype=bool)
    condensed = squareform(np.maximum(distance, 0) * pairs, checks=False)
    return condensed, linkage(condensed, "average")


def _checked(matrix: ArrayLike, superclasses: Sequence[Hashable]) -> Matrix:
    matrix, count = as_matrix(matrix), checked_labels(superclasses)
    if matrix.shape != (count, count):
        raise InputError(f"expected a matrix (K, K) and K superclass labels, got {matrix.shape} and {count}")
    if not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-6, equal_nan=True):
        raise InputError("expected a symmetric matrix, got one that is not")
    symmetric: Matrix = (matrix + matrix.T) / 2
    return symmetric


def _replace_similarity(scores: ClusteringScores, similarity: Matrix) -> ClusteringScores:
    rank = effective_rank(similarity)
    reasons = dict(scores.reasons)
    reasons.pop("effective_rank")
    if math.isnan(rank):
        reasons["effective_rank"] = ZERO_TEMPLATE
    return replace(scores, intra=1 - scores.intra, inter=1 - scores.inter, effective_rank=rank, reasons=reasons)


ZERO_TEMPLATE = "a class has a zero template, or one that is not finite"
NO_SAMPLES = "a class has no samples, or features that are not finite"


def _scores(
    distance: Matrix,
    superclasses: Sequence[Hashable],
    permutations: int,
    seed: int,
    levels: Sequence[Sequence[Hashable]],
    not_finite: str,
) -> ClusteringScores:
    """All scores of a distance matrix; intra and inter are mean distances here."""
    if not (isinstance(permutations, int) and isinstance(seed, int)) or permutations < 1 or seed < 0:
        raise InputError(f"expected 1 permutation or more and a seed of 0 or more, got {permutations!r} and {seed!r}")
    if any(checked_labels(level) != len(superclasses) for level in levels):
        raise InputError(f"expected {len(superclasses)} labels at each level, one a class")
    labels = _numbered(superclasses)
    count, families = len(labels), int(labels.max(initial=-1)) + 1
    reasons = {"effective_rank": "defined for correlations only"}
    values = dict.fromkeys(
        ("intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "p_value", "tree_spearman"),
        math.nan,
    )
    order = tuple(range(count))

    def undefined(why: str, *names: str) -> None:
        reasons.update(dict.fromkeys(names, why))

    if not np.isfinite(distance).all():
        undefined(not_finite, *values)
        return ClusteringScores(**values, effective_rank=math.nan, leaf_order=order, reasons=reasons)
    same = labels[:, None] == labels
    pairs = ~np.eye(count, dtype=bool)
    if (same & pairs).any():
        values["intra"] = float(distance[same & pairs].mean())
    else:
        undefined("no superclass has two classes", "intra", "gap", "p_value", "silhouette")
    if families > 1:
        values["inter"] = float(distance[~same].mean())
    else:
        undefined("there is only one superclass", "inter", "gap", "p_value", "silhouette", "rand_index")
    values["gap"] = values["inter"] - values["intra"]
    if not math.isnan(values["gap"]):
        values["p_value"] = gap_p_value(distance, labels, permutations, seed)
        values["silhouette"] = silhouette(np.maximum(distance * pairs, 0), labels)
    if count > 2:
        condensed, tree = average_linkage(distance)
        order = tuple(int(leaf) for leaf in leaves_list(tree))
        if np.ptp(condensed) > 1e-9 * condensed.max():
            values["cophenetic"] = float(cophenet(tree, condensed)[0])
        else:
            undefined("all distances are equal", "cophenetic")
        if families > 1:
            cut = fcluster(tree, families, "maxclust")
            values["rand_index"] = adjusted_rand(labels, cut)
    else:
        undefined("fewer than three classes make no tree", "cophenetic", "rand_index")
    values["tree_spearman"] = _tree_spearman(distance, levels)
    if math.isnan(values["tree_spearman"]):
        few = len(levels) < 2
        undefined("the hierarchy has one level only" if few else "all distances are equal", "tree_spearman")
    return ClusteringScores(**values, effective_rank=math.nan, leaf_order=order, reasons=reasons)


def _numbered(superclasses: Sequence[Hashable]) -> NDArray[np.int64]:
    superclasses = getattr(superclasses, "tolist", lambda: superclasses)()  # tensors are equal by identity
    numbers = {label: number for number, label in enumerate(dict.fromkeys(superclasses))}
    return np.array([numbers[label] for label in superclasses], np.int64)


def _tree_spearman(distance: Matrix, levels: Sequence[Sequence[Hashable]]) -> float:
    """Spearman correlation of the distance with the number of levels at which two classes are apart."""
    if len(levels) < 2:
        return math.nan
    numbered = [_numbered(level) for level in levels]
    apart = np.sum([level[:, None] != level for level in numbered], axis=0)
    upper = np.triu_indices(len(distance), 1)
    if min(np.ptp(apart[upper]), np.ptp(distance[upper])) == 0:
        return math.nan
    return rank_correlation(apart[upper].astype(np.float64), distance[upper])
