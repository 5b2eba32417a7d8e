"""Wilson's interval and McNemar's exact test from their formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.attacks import mcnemar, wilson_interval
from auditor.attacks.flags import clearly_more


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_its_formula(counts: tuple[int, int]) -> None:
    k, n = counts
    z, p = 1.959963984540054, k / n
    middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = wilson_interval(k, n)
    assert low == pytest.approx((middle - reach) / (1 + z * z / n), abs=1e-9)
    assert high == pytest.approx((middle + reach) / (1 + z * z / n), abs=1e-9)


def test_nothing_has_no_interval() -> None:
    assert all(math.isnan(bound) for bound in wilson_interval(0, 0))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_binomial_tail(b: int, c: int) -> None:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(1, 2 * tail))


@pytest.mark.parametrize(
    ("first", "second", "n", "clear"),
    [
        (50, 0, 1000, True),
        (49, 0, 1000, False),
        (5, 0, 64, False),
        (8, 0, 64, True),
        (60, 40, 400, False),
        (0, 9, 9, False),
    ],
)
def test_clearly_more_needs_five_points_and_significance(first: int, second: int, n: int, clear: bool) -> None:
    assert clearly_more(first, second, n) is clear
