"""The permutation test against the plain formula: the same shuffles, and the same p-value to the last digit."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from auditor.clustering.permutation import _FEW, _Gaps, _relabellings, gap_p_value


def _plain_gap(distance: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The gap from the two masks of ordered pairs."""
    same, pairs = labels[:, None] == labels, ~np.eye(len(labels), dtype=bool)
    return float(distance[~same].mean() - distance[same & pairs].mean())


def _plain_p_value(distance: NDArray[np.float64], labels: NDArray[np.int64], permutations: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.tile(labels, (permutations, 1)), axis=1)
    larger = sum(_plain_gap(distance, row) >= _plain_gap(distance, labels) - 1e-12 for row in shuffled)
    return (1 + larger) / (1 + permutations)


SIZES = st.lists(st.integers(1, 25), min_size=2, max_size=9).filter(lambda sizes: max(sizes) > 1 and sum(sizes) > 12)


@pytest.mark.long
@given(SIZES, st.integers(0, 99), st.sampled_from([None, 1, 3]), st.booleans())
def test_p_values_are_those_of_the_plain_formula(
    sizes: list[int], seed: int, digits: int | None, symmetric: bool
) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.permuted(np.repeat(np.arange(len(sizes)), sizes))
    distance = generator.random((len(labels), len(labels)))
    distance = distance if digits is None else distance.round(digits)  # few digits make ties
    distance = distance + distance.T if symmetric else distance
    assume(_relabellings(labels) > 60)  # else all are enumerated
    assert gap_p_value(distance, labels, 60, seed) == _plain_p_value(distance, labels, 60, seed)


@pytest.mark.parametrize(
    "sizes",
    [(2,) + (1,) * 48, (2,) * 25, (3, 4, 4, 39), (20, 30), (25, 23, 1, 1), (1, 2, 3, 4, 40), (47, 3), (5, 15, 30)],
    ids=str,
)
def test_gaps_of_small_large_and_middling_families(sizes: tuple[int, ...]) -> None:
    count = sum(sizes)
    generator = np.random.default_rng(count)
    distance = generator.random((count, count))
    labels = generator.permuted(np.tile(np.repeat(np.arange(len(sizes)), sizes), (20, 1)), axis=1)
    expected = [_plain_gap(distance, row) for row in labels]
    assert _Gaps(distance, labels[0]).under(labels) == pytest.approx(expected, rel=0, abs=1e-13)


def test_a_product_that_takes_several_blocks() -> None:
    generator = np.random.default_rng(0)
    distance = generator.random((300, 300))
    labels = generator.permuted(np.tile(np.repeat([0, 1], [140, 160]), (3, 1)), axis=1)
    assert _FEW * 300 < 140
    expected = [_plain_gap(distance, row) for row in labels]
    assert _Gaps(distance, labels[0]).under(labels) == pytest.approx(expected, rel=0, abs=1e-13)
