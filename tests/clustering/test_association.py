"""Spearman's rho against its textbook formula, and what its interval must do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.clustering import spearman


@given(st.permutations(range(12)))
def test_rho_without_ties_is_one_minus_six_times_squared_rank_differences(order: list[int]) -> None:
    found = spearman(list(range(12)), order)
    squares = sum((i - rank) ** 2 for i, rank in enumerate(order))
    assert found.rho == pytest.approx(1 - 6 * squares / (12 * (12**2 - 1)))
    if squares not in (0, 572):  # a perfect order, either way, has no interval
        assert -1 <= found.low <= found.rho <= found.high <= 1


@pytest.mark.long
def test_interval_in_the_open() -> None:
    """Rho = 0.5, n = 28: z = 0.5493 ± 1.95996 sqrt(1.125 / 25)."""
    first = list(range(28))
    for seed in range(20000):
        second = list(np.random.default_rng(seed).permutation(28))
        if abs(spearman(first, second).rho - 0.5) < 0.002:
            break
    found = spearman(first, second)
    assert found.low == pytest.approx(math.tanh(0.5493 - 1.95996 * math.sqrt(1.125 / 25)), abs=0.005)
    assert found.high == pytest.approx(math.tanh(0.5493 + 1.95996 * math.sqrt(1.125 / 25)), abs=0.005)


@pytest.mark.parametrize("pairs", [0, 3])
def test_too_few_pairs(pairs: int) -> None:
    assert math.isnan(spearman(range(pairs), range(pairs)).rho)


def test_constant_side_and_perfect_order() -> None:
    assert math.isnan(spearman([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]).rho)
    perfect = spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert perfect.rho == pytest.approx(1)
    assert math.isnan(perfect.low)
    assert math.isnan(perfect.high)
