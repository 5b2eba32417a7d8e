"""Scores against independent brute force, SciPy, scikit-learn and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from auditor.clustering import clustering_scores, distance_scores, effective_rank
from auditor.clustering.permutation import _relabellings
from auditor.errors import InputError

LABELS = ("a", "b", "a", "a", "c", "b", "d")


def _templates(seed: int, classes: int = 7, pixels: int = 20) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((classes, pixels))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _pair_means(matrix: np.ndarray, labels: tuple) -> tuple[float, float]:
    """Intra and inter by two plain loops."""
    intra, inter = [], []
    for i, j in itertools.combinations(range(len(labels)), 2):
        (intra if labels[i] == labels[j] else inter).append(matrix[i, j])
    return float(np.mean(intra)), float(np.mean(inter))


@pytest.mark.parametrize("seed", range(5))
def test_against_brute_force(seed: int) -> None:
    unit = _templates(seed)
    c = unit @ unit.T
    found = clustering_scores(c, LABELS)
    intra, inter = _pair_means(c, LABELS)
    assert found.intra == pytest.approx(intra)
    assert found.inter == pytest.approx(inter)
    assert found.gap == pytest.approx(intra - inter)
    distances = 1 - c
    np.fill_diagonal(distances, 0)
    assert found.silhouette == pytest.approx(silhouette_samples(distances, LABELS, metric="precomputed").mean())
    # On unit vectors 1 - C is half the squared Euclidean distance: SciPy from the vectors, not from the matrix.
    tree = linkage(pdist(unit, "sqeuclidean") / 2, "average")
    assert found.cophenetic == pytest.approx(cophenet(tree, pdist(unit, "sqeuclidean") / 2)[0])
    cut = AgglomerativeClustering(4, metric="precomputed", linkage="average").fit_predict(distances)
    assert found.rand_index == pytest.approx(adjusted_rand_score(LABELS, cut))
    assert set(fcluster(tree, 4, "maxclust")) == {1, 2, 3, 4}
    assert sorted(found.leaf_order) == list(range(7))
    assert found.reasons.keys() == {"tree_spearman"}


@pytest.mark.parametrize("seed", range(3))
def test_exact_p_value_is_the_share_of_all_permutations(seed: int) -> None:
    unit = _templates(seed, 6)
    c, labels = unit @ unit.T, ("a", "a", "b", "b", "b", "c")
    observed = np.subtract(*_pair_means(c, labels))
    gaps = [np.subtract(*_pair_means(c, shuffled)) for shuffled in itertools.permutations(labels)]
    expected = np.mean(np.array(gaps) >= observed - 1e-12)
    assert clustering_scores(c, labels).p_value == pytest.approx(expected)


def test_monte_carlo_p_value_agrees_with_the_exact_one() -> None:
    unit = _templates(3, 9, 6)
    c, labels = unit @ unit.T, ("a",) * 4 + ("b",) * 3 + ("c",) * 2
    assert _relabellings(np.array([0] * 4 + [1] * 3 + [2] * 2)) == 1260
    exact = clustering_scores(c, labels, permutations=1260).p_value
    sampled = clustering_scores(c, labels, permutations=1259, seed=1).p_value
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 1259))
    assert clustering_scores(c, labels, permutations=99, seed=4).p_value * 100 == pytest.approx(
        round(clustering_scores(c, labels, permutations=99, seed=4).p_value * 100)
    )  # (1 + b) / (1 + m)


def test_perfect_blocks() -> None:
    labels = ("a", "a", "a", "b", "b", "b")
    same = np.equal.outer(labels, labels)
    c = np.where(same, 0.8, -0.6)
    np.fill_diagonal(c, 1)
    found = clustering_scores(c, labels)
    assert (found.intra, found.inter, found.gap) == pytest.approx((0.8, -0.6, 1.4))
    assert found.rand_index == 1
    assert found.silhouette == pytest.approx(1 - 0.2 / 1.6)
    assert found.cophenetic == pytest.approx(1)
    assert found.p_value == pytest.approx(2 / 20)  # the two arrangements that name the blocks either way


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        (("a",) * 4, {"inter", "gap", "p_value", "silhouette", "rand_index"}),
        (("a", "b", "c", "d"), {"intra", "gap", "p_value", "silhouette"}),
    ],
    ids=["one superclass", "all alone"],
)
def test_undefined_statistics_are_nan_with_a_reason(labels: tuple, undefined: set) -> None:
    unit = _templates(0, 4)
    found = clustering_scores(unit @ unit.T, labels)
    nan = {
        name
        for name in ("intra", "inter", "gap", "p_value", "silhouette", "rand_index", "cophenetic", "effective_rank")
        if math.isnan(getattr(found, name))
    }
    assert nan == undefined
    assert nan <= found.reasons.keys()


def test_a_zero_template_makes_everything_undefined() -> None:
    c = np.eye(4)
    c[2] = c[:, 2] = np.nan
    found = clustering_scores(c, ("a", "a", "b", "b"))
    assert math.isnan(found.gap)
    assert math.isnan(found.effective_rank)
    assert "zero template" in found.reasons["gap"]
    assert found.leaf_order == (0, 1, 2, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_classes_for_a_tree(count: int) -> None:
    found = clustering_scores(np.eye(count), tuple(range(count)))
    assert math.isnan(found.cophenetic)
    assert "tree" in found.reasons["cophenetic"]


def test_equal_distances_have_no_cophenetic_correlation() -> None:
    found = clustering_scores(np.eye(4), ("a", "a", "b", "b"))
    assert math.isnan(found.cophenetic)
    assert found.gap == 0
    assert found.p_value == 1


@pytest.mark.parametrize(
    "matrix", [np.eye(3), np.ones((4, 3)), np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])]
)
def test_a_matrix_that_does_not_fit_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError):
        clustering_scores(matrix, ("a", "a", "b", "b"))


@pytest.mark.parametrize(
    ("eigenvalues", "expected"),
    [((1, 1, 1, 1), 4), ((4, 0, 0, 0), 1), ((2, 2, 0, 0), 2), ((3, 1, 0, 0), 16 / 10)],
)
def test_effective_rank_from_eigenvalues(eigenvalues: tuple, expected: float) -> None:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    assert effective_rank(basis * eigenvalues @ basis.T) == pytest.approx(expected)


@given(st.integers(0, 10**6), st.permutations(range(7)))
def test_the_order_of_classes_does_not_matter(seed: int, order: list[int]) -> None:
    unit = _templates(seed)
    c = unit @ unit.T
    first = clustering_scores(c, LABELS, permutations=500)
    second = clustering_scores(c[np.ix_(order, order)], [LABELS[k] for k in order], permutations=500)
    for name in ("intra", "inter", "gap", "silhouette", "effective_rank", "cophenetic"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), abs=1e-9)
    assert 1 <= first.effective_rank <= 7
    assert -2 <= first.gap <= 2
    assert 1 / 501 <= first.p_value <= 1


def test_distance_scores_are_those_of_f_over_its_maximum() -> None:
    points = np.random.default_rng(2).standard_normal((7, 3))
    f = ((points[:, None] - points) ** 2).mean(2)
    found = distance_scores(f, LABELS)
    intra, inter = _pair_means(f / f.max(), LABELS)
    assert (found.intra, found.inter, found.gap) == pytest.approx((intra, inter, inter - intra))
    assert math.isnan(found.effective_rank)
    assert "correlations only" in found.reasons["effective_rank"]


def test_tree_spearman_of_a_tree_that_the_distances_follow() -> None:
    fine, coarse = ("a", "a", "b", "b", "c", "c"), ("x", "x", "x", "x", "y", "y")
    apart = np.not_equal.outer(fine, fine).astype(float) + np.not_equal.outer(coarse, coarse)
    noise = np.abs(np.random.default_rng(0).standard_normal((6, 6))) * 1e-3
    c = 1 - (apart / 4 + noise + noise.T) * ~np.eye(6, dtype=bool)
    found = clustering_scores(c, fine, levels=(fine, coarse))
    assert found.tree_spearman > 0.9
    assert "tree_spearman" not in found.reasons
