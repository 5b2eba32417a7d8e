"""Paired shares against formulas, the literature and simulation."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ttest_rel

from auditor.statistics import Paired, PairedMeans, mcnemar, mean_interval, wilson_interval

counts = st.integers(0, 400)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_the_table_counts(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs).T
    table = Paired.count(first, second)
    assert [table.both, table.only_first, table.only_second, table.neither] == [
        pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))
    ]
    assert table.n == len(pairs)
    assert table.difference == pytest.approx(first.mean() - second.mean())


def test_newcombes_own_example() -> None:
    """36, 12, 2 and 0 of 50 in Newcombe's paper (1998): 0.2000, by method 10 from 0.0569 to 0.3404."""
    low, high = Paired(36, 12, 2, 0).interval()
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


@given(counts, counts, counts, counts)
def test_the_interval_holds_the_difference_and_turns_with_the_sides(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    low, high = Paired(a, b, c, d).interval()
    assert -1 - 1e-9 <= low <= Paired(a, b, c, d).difference + 1e-9
    assert Paired(a, b, c, d).difference - 1e-9 <= high <= 1 + 1e-9
    turned = Paired(a, c, b, d).interval()
    assert (turned[0], turned[1]) == pytest.approx((-high, -low))


def test_without_correlation_it_is_the_square_and_add_of_two_wilson_intervals() -> None:
    table = Paired(16, 24, 24, 36)  # product of the margins: phi is 0
    low, high = table.interval()
    (low_1, high_1), (low_2, high_2) = wilson_interval(40, 100), wilson_interval(40, 100)
    assert low == pytest.approx(-math.hypot(0.4 - low_1, high_2 - 0.4))
    assert high == pytest.approx(math.hypot(high_1 - 0.4, 0.4 - low_2))


@pytest.mark.parametrize("shares", [(0.4, 0.15, 0.05, 0.4), (0.02, 0.1, 0.08, 0.8), (0.7, 0.02, 0.02, 0.26)])
def test_it_covers_the_truth_about_as_often_as_it_says(shares: tuple[float, ...]) -> None:
    generator, truth = np.random.default_rng(0), shares[1] - shares[2]
    intervals = [Paired(*table).interval() for table in generator.multinomial(200, shares, 600).tolist()]
    assert 0.93 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.99


@given(st.integers(0, 60), st.integers(0, 60))
def test_one_sided_mcnemar_is_the_upper_tail(b: int, c: int) -> None:
    assert mcnemar(b, c, one_sided=True) == pytest.approx(binom.sf(b - 1, b + c, 0.5))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=40))
def test_paired_means_are_scipys_paired_t_test(sides: list[tuple[float, float]]) -> None:
    first, second = (np.array(side) for side in zip(*sides, strict=True))
    found = PairedMeans.test(first, second)
    assert found.difference == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    assert found.low <= found.difference + 1e-12
    assert found.high >= found.difference - 1e-12
    if np.ptp(first - second) < 1e-6:
        return
    expected = ttest_rel(first, second)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.p_lower == pytest.approx(ttest_rel(first, second, alternative="greater").pvalue)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((max(-1, ends.low), min(1, ends.high)))


def test_equal_means_are_no_difference() -> None:
    same = np.array([0.2, 0.4, 0.9])
    found = PairedMeans.test(same, same)
    assert (found.difference, found.low, found.high, found.p_value, found.p_lower) == (0, 0, 0, 1, 1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
@example([0.0, 3e-155])
def test_the_interval_of_a_mean_holds_the_mean_and_stays_in_range(shares: list[float]) -> None:
    mean, low, high = mean_interval(np.array(shares))
    assert mean == pytest.approx(np.mean(shares))
    assert -1e-12 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1 + 1e-12


def test_the_interval_of_a_mean_covers_it() -> None:
    """Shares of 75 verdicts that depend on the image: about 95 of 100 intervals hold the true mean."""
    draws = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        chance = draws.beta(0.8, 0.8, 64)
        _, low, high = mean_interval(draws.binomial(75, chance) / 75)
        held += low <= 0.5 <= high
    assert 0.935 <= held / 2000 <= 0.965


def test_the_interval_of_zeros_and_ones_is_nearly_wilsons() -> None:
    mean, low, high = mean_interval(np.array([1.0] * 70 + [0.0] * 30))
    assert (mean, low, high) == pytest.approx((0.7, *wilson_interval(70, 100)), abs=2e-3)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_differences_are_as_likely_as_equal_signs(n: int) -> None:
    """Two images that both fall by the same amount are no proof: the t-test would say p = 0."""
    found = PairedMeans.test(np.full(n, 0.75), np.full(n, 0.5))
    assert found.p_value == pytest.approx(binomtest(n, n, 0.5).pvalue)
    assert found.p_lower == pytest.approx(binomtest(n, n, 0.5, alternative="greater").pvalue)
    assert PairedMeans.test(np.full(n, 0.5), np.full(n, 0.75)).p_lower == 1
