"""The matrices that are scored, against plain loops and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from auditor.clustering import centred, correlation, deflated, effective_rank, feature_distance
from auditor.errors import InputError


def _rows(seed: int, classes: int = 6, pixels: int = 15) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((classes, pixels)) * np.arange(1, classes + 1)[:, None]


@given(st.integers(0, 10**6))
def test_correlation_and_its_centred_variant_from_the_gram_matrix(seed: int) -> None:
    w = _rows(seed)
    for found, rows in ((correlation(w @ w.T), w), (correlation(centred(w @ w.T)), w - w.mean(0))):
        expected = [[1 - cosine(a, b) for b in rows] for a in rows]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_deflated_leaves_out_the_leading_direction_of_the_unit_templates() -> None:
    w = _rows(1)
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(unit, full_matrices=False)
    rest = unit - s[0] * np.outer(u[:, 0], vt[0])
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    np.testing.assert_allclose(deflated(unit @ unit.T), rest @ rest.T, atol=1e-9)


def test_deflation_shows_what_a_common_direction_hides() -> None:
    """Templates ±(1000 e_0) plus two blocks: C is rank one with signs, without that direction the blocks appear."""
    signs = np.array([1, -1, 1, -1, 1, -1.0])
    blocks = np.repeat(np.eye(2), 3, axis=0)
    w = np.hstack([1000 * signs[:, None], blocks + 0.01 * np.random.default_rng(0).standard_normal((6, 2))])
    c = correlation(w @ w.T)
    assert effective_rank(c) < 1.01
    inner = deflated(c)
    assert inner[:3, :3].min() > 0.9
    assert inner[:3, 3:].max() < inner[:3, :3].min()


def test_zero_and_equal_templates_have_no_direction() -> None:
    w = _rows(3)
    w[4] = 0
    found = correlation(w @ w.T)
    assert np.isnan(found[4]).all()
    assert np.isfinite(np.delete(np.delete(found, 4, 0), 4, 1)).all()
    same = np.tile(_rows(0)[:1], (5, 1))
    assert np.isnan(correlation(centred(same @ same.T))).all()


def test_feature_distance_by_loops() -> None:
    generator = np.random.default_rng(5)
    features, labels = generator.standard_normal((50, 4)) * 3, np.arange(50) % 5
    found = feature_distance(features, labels, 6)
    for i in range(5):
        for j in range(5):
            difference = features[labels == i].mean(0) - features[labels == j].mean(0)
            assert found[i, j] == pytest.approx((difference**2).mean(), abs=1e-12)
    assert np.isnan(found[5]).all()


@pytest.mark.parametrize(
    ("shape", "labels"), [((4,), [0, 1, 0, 1]), ((4, 2), [0, 1]), ((2, 2), [0, 3]), ((2, 2), [-1, 0])]
)
def test_features_that_do_not_fit_are_refused(shape: tuple, labels: list) -> None:
    with pytest.raises(InputError):
        feature_distance(np.zeros(shape), np.array(labels), 3)
