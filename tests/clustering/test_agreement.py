"""Silhouette, adjusted Rand index, rank correlation and Wilson's interval, against scikit-learn and SciPy."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ConstantInputWarning, binomtest, spearmanr
from sklearn.metrics import adjusted_rand_score, silhouette_score

from auditor.clustering.agreement import adjusted_rand, silhouette
from auditor.clustering.association import spearman
from auditor.statistics import wilson_interval

labellings = st.integers(3, 25).flatmap(
    lambda n: st.tuples(*2 * [st.lists(st.integers(0, 3), min_size=n, max_size=n).map(_from_zero)])
)


def _from_zero(labels: list[int]) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


@given(labellings)
def test_adjusted_rand_is_scikit_learns(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    assert adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second), abs=1e-12)


@pytest.mark.long
@given(labellings, st.integers(0, 10**6), st.booleans())
def test_silhouette_is_scikit_learns(pair: tuple[np.ndarray, np.ndarray], seed: int, ties: bool) -> None:
    labels = pair[0]
    random = np.random.default_rng(seed)
    distance = random.integers(0, 3, (len(labels),) * 2) if ties else random.random((len(labels),) * 2)
    distance = np.triu(distance, 1).astype(np.float64)
    distance += distance.T
    if 2 <= labels.max() + 1 < len(labels):
        expected = silhouette_score(distance, labels, metric="precomputed")
        assert silhouette(distance, labels) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(*2 * [st.integers(-5, 5)]), min_size=4, max_size=30))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = ([float(value) for value in side] for side in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        rho, p_value = spearmanr(first, second)
    found = spearman(first, second)
    if math.isnan(rho):
        assert math.isnan(found.rho)
    else:
        assert found.rho == pytest.approx(rho, abs=1e-12)
        assert found.p_value == pytest.approx(p_value, abs=1e-6 if abs(rho) > 1 - 1e-9 else 1e-9)


@given(st.integers(1, 10**5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    k, n = counts
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((interval.low, interval.high), abs=1e-12)
