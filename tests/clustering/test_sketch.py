"""What sketches of a known W say of it, over many independent draws of probes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import hyp2f1

from auditor.clustering import (
    centred,
    centred_responses,
    clustering_scores,
    correlation,
    deflated,
    deflated_responses,
    effective_rank,
    gap_error,
    sketched_correlation,
    sketched_rank,
)
from auditor.clustering.sketch import _hypergeometric
from auditor.errors import InputError

LABELS = tuple(number // 6 for number in range(60))
"""60 classes in ten superclasses of six."""


def _blocks(own: float, pixels: int = 300, common: float = 0.0) -> np.ndarray:
    """Templates ``(60, pixels)``: a direction for all, one for each superclass, and each class's own, times ``own``."""
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((10, pixels))[list(LABELS)]
    sizes = generator.uniform(0.5, 20, (60, 1))
    w = shared + own * generator.standard_normal((60, pixels)) + common * generator.standard_normal(pixels)
    return sizes * w


def _near_rank_one(noise: float = 0.2) -> np.ndarray:
    generator = np.random.default_rng(1)
    signs = generator.choice([-1.0, 1.0], (60, 1))
    return signs * generator.standard_normal(300) + noise * _blocks(0.5)


WEIGHTS = {
    "low rank": _blocks(0.1),
    "middle": _blocks(1.0),
    "high rank": _blocks(20.0),
    "common": _blocks(1.0, common=1.0),
    "three pixels": _blocks(1.0, pixels=3),
}


def _sketches(w: np.ndarray, probes: int, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [generator.standard_normal((probes, w.shape[1])) @ w.T for _ in range(count)]


SAME = np.equal.outer(LABELS, LABELS)
PAIRS = ~np.eye(60, dtype=bool)


def _gap(c: np.ndarray) -> float:
    return c[SAME & PAIRS].mean() - c[~SAME].mean()


def _same(rows: np.ndarray) -> np.ndarray:
    return rows


@pytest.mark.long
@pytest.mark.parametrize("probes", [8, 20, 64])
@pytest.mark.parametrize("prepare", [_same, centred_responses], ids=["as they are", "centred"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_stated_error_of_the_gap_is_the_one_seen(name: str, prepare: Callable, probes: int) -> None:
    sketches = [prepare(rows) for rows in _sketches(WEIGHTS[name], probes, 150)]
    seen = np.std([_gap(sketched_correlation(rows)) for rows in sketches])
    stated = np.mean([gap_error(rows, LABELS) for rows in sketches])
    assert seen > 1e-4
    assert stated == pytest.approx(seen, rel=0.3)


@pytest.mark.long
def test_the_stated_error_without_the_leading_direction() -> None:
    sketches = _sketches(_near_rank_one(0.02), 32, 200)
    gaps = [_gap(sketched_correlation(deflated_responses(rows))) for rows in sketches]
    stated = np.mean([gap_error(rows, LABELS, prepare=deflated_responses) for rows in sketches])
    assert stated == pytest.approx(np.std(gaps), rel=0.3)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_gap_is_right_on_average(name: str) -> None:
    """But for a bias of ``c (1 - c²) / 2R`` in each entry, as every sample correlation has it."""
    w, probes = WEIGHTS[name], 64
    gaps = [_gap(sketched_correlation(rows)) for rows in _sketches(w, probes, 400)]
    noise = np.std(gaps) / math.sqrt(len(gaps))
    assert np.mean(gaps) == pytest.approx(_gap(correlation(w @ w.T)), abs=4 * noise + 0.2 / probes)


@pytest.mark.long
@pytest.mark.parametrize("probes", [8, 32, 64])
@pytest.mark.parametrize("centre", [False, True], ids=["as they are", "centred"])
@pytest.mark.parametrize("w", [*WEIGHTS.values(), _near_rank_one()], ids=[*WEIGHTS, "near rank one"])
def test_squared_entries_are_estimated_without_bias(w: np.ndarray, centre: bool, probes: int) -> None:
    """The mean of ``K² / rank`` over sketches is the sum of C's squared entries; at 8 probes clipping bites."""
    gram = centred(w @ w.T) if centre else w @ w.T
    exact = effective_rank(correlation(gram))
    sketches = _sketches(w, probes, 400)
    inverse = [1 / sketched_rank(centred_responses(rows) if centre else rows) for rows in sketches]
    noise = np.std(inverse) / math.sqrt(len(inverse))
    clipped = exact > 10 and probes < 32
    assert np.mean(inverse) == pytest.approx(1 / exact, abs=4 * noise + 1e-9, rel=0.2 if clipped else None)
    biased = [1 / effective_rank(sketched_correlation(centred_responses(r) if centre else r)) for r in sketches]
    if exact > 5:
        assert np.mean(biased) > 1 / exact + 0.4 / probes


@pytest.mark.parametrize("probes", [8, 9, 64, 100])
def test_the_series_is_scipy_s_where_that_one_does_not_overflow(probes: int) -> None:
    z = np.linspace(0, 1, 5001)
    np.testing.assert_allclose(_hypergeometric((probes + 1) / 2, z), hyp2f1(1, 1, (probes + 1) / 2, z), atol=2e-6)


@pytest.mark.parametrize("probes", [1999, 2000, 4001])
def test_many_probes_leave_the_rank_as_it_is(probes: int) -> None:
    w = WEIGHTS["high rank"]
    (rows,) = _sketches(w, probes, 1)
    assert sketched_rank(rows) == pytest.approx(effective_rank(correlation(w @ w.T)), rel=0.02)


def test_one_sketch_of_a_high_rank_is_near_it() -> None:
    w = np.random.default_rng(3).standard_normal((400, 2000))
    exact = effective_rank(correlation(w @ w.T))
    (rows,) = _sketches(w, 64, 1)
    assert exact > 300
    assert sketched_rank(rows) == pytest.approx(exact, rel=0.15)
    assert effective_rank(sketched_correlation(rows)) < 64


def test_a_rank_of_one_is_one_and_classes_that_are_orthogonal_have_all() -> None:
    (rows,) = _sketches(np.outer([1.0, -2, 3, 4, -5], np.ones(30)), 8, 1)
    assert sketched_rank(rows) == pytest.approx(1)
    assert sketched_rank(np.eye(8)[:, :5]) == 5


def test_near_rank_one_stays_below_what_is_called_collapse() -> None:
    w = _near_rank_one(0.02)
    exact = effective_rank(correlation(w @ w.T))
    found = [sketched_rank(rows) for rows in _sketches(w, 16, 50)]
    assert 1 < exact < 1.5
    assert max(found) < 1.5
    assert np.mean(found) == pytest.approx(exact, rel=0.03)


def test_variants_of_responses_are_those_of_the_matrices() -> None:
    (rows,) = _sketches(WEIGHTS["common"], 100, 1)
    gram = rows.T @ rows / 100
    np.testing.assert_allclose(sketched_correlation(rows), correlation(gram), atol=1e-12)
    np.testing.assert_allclose(sketched_correlation(centred_responses(rows)), correlation(centred(gram)), atol=1e-9)
    np.testing.assert_allclose(sketched_correlation(deflated_responses(rows)), deflated(correlation(gram)), atol=1e-9)


def test_the_gap_without_c_is_that_of_the_scores() -> None:
    """The jackknife of two groups is half the difference of their gaps."""
    (rows,) = _sketches(WEIGHTS["middle"], 40, 1)
    halves = (sketched_correlation(half) for half in (rows[:20], rows[20:]))
    first, second = (clustering_scores(c, LABELS, permutations=1).gap for c in halves)
    assert gap_error(rows, LABELS, groups=2) == pytest.approx(abs(first - second) / 2)


def test_zero_templates_and_lonely_classes_have_no_error() -> None:
    (rows,) = _sketches(WEIGHTS["middle"], 16, 1)
    assert math.isnan(gap_error(rows, range(60)))
    assert math.isnan(gap_error(rows, ["all"] * 60))
    rows[:, 3] = 0
    assert math.isnan(gap_error(rows, LABELS))
    assert math.isnan(gap_error(rows, LABELS, prepare=deflated_responses))
    assert math.isnan(sketched_rank(rows))
    assert np.isnan(sketched_correlation(centred_responses(np.ones((9, 4))))).all()


@pytest.mark.parametrize("shape", [(60,), (16, 59), (1, 60)])
def test_responses_that_do_not_fit_are_refused(shape: tuple) -> None:
    with pytest.raises(InputError, match=r"expected responses \(R, K\)"):
        gap_error(np.ones(shape), LABELS)
