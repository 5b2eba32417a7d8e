"""Wilson's interval, McNemar's exact test and the area under the ROC curve from their formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from auditor.attacks import mcnemar, wilson_interval
from auditor.attacks.flags import clearly_more
from auditor.statistics import auc


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


PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30)


@given(PAIRS.filter(lambda pairs: len({yes for _, yes in pairs}) == 2))
def test_auc_is_scikit_learns_and_its_interval_solves_newcombes_equation(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = [float(score) for score, _ in pairs], [yes for _, yes in pairs]
    found = auc(scores, positive)
    m, n = sum(positive), len(positive) - sum(positive)
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    assert (found.n, found.positives) == (m + n, m)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):
        more = (m + n) / 2 - 1
        variance = end * (1 - end) * (1 + more * (1 - end) / (2 - end) + more * end / (1 + end)) / (m * n)
        assert abs(found.value - end) == pytest.approx(1.959963984540054 * math.sqrt(variance), abs=1e-5)


def test_auc_of_a_perfect_order_has_an_interval_and_of_one_kind_there_is_none() -> None:
    perfect = auc([1, 2, 3, 4], [False, False, True, True])
    assert (perfect.value, perfect.high) == (1, 1)
    # At value 1, (1 - x)² = z² x (1 - x) (1 + (1 - x) / (2 - x) + x / (1 + x)) / 4 is a cubic once 1 - x is out.
    z2 = 1.959963984540054**2 / 4
    x = perfect.low
    assert 1 - x == pytest.approx(z2 * x * (1 + (1 - x) / (2 - x) + x / (1 + x)))
    assert math.isnan(auc([1, 2], [True, True]).value)
    assert auc([2, 1], [False, True]).low == 0
    assert auc([1, 1], [False, True]).value == 0.5


def test_the_false_discovery_rate_over_many_models() -> None:
    """Of 40 models 4 are worse: of those rejected, at most 5 % are not; with none worse, 5 % of the nights reject."""
    from scipy.stats import norm

    from auditor.statistics import benjamini_hochberg

    rng = np.random.default_rng(0)
    for worse in (0, 4):
        false = []
        for _ in range(2000):
            shared = rng.normal() * 0.5  # images that all models share
            z = shared + rng.normal(size=40) * math.sqrt(0.75) - 3.5 * (np.arange(40) < worse)
            p = norm.cdf(z)
            rejected = p <= benjamini_hochberg(p.tolist(), 0.05)
            false.append(rejected[worse:].sum() / max(1, rejected.sum()))
        assert np.mean(false) <= 0.055
