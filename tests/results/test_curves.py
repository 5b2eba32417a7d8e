"""What a curve says: R at every radius, its band and median, and paired tests, against closed forms and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, quantile_test

from auditor.errors import UsageError
from auditor.results.curves import (
    band_reach,
    compare_curves,
    curve_values,
    drawn_points,
    median_interval,
    median_words,
    robust_at,
    summarize_curve,
)
from tests.factories.curves import curve_of

SIZES = st.lists(st.one_of(st.floats(0, 0.5, width=32), st.just(float("inf"))), min_size=1, max_size=60)


@given(SIZES)
def test_r_never_grows_and_its_band_holds_it(sizes: list[float]) -> None:
    drawn = drawn_points(curve_of(sizes))
    assert (np.diff(drawn.robust) <= 0).all()
    assert ((drawn.low <= drawn.robust) & (drawn.robust <= drawn.high)).all()
    assert (drawn.low >= 0).all()
    assert (drawn.high <= 1).all()


@given(SIZES, st.floats(0, 0.4))
def test_r_is_the_share_of_larger_sizes(sizes: list[float], eps: float) -> None:
    near = [abs(size - eps) < 1e-5 for size in sizes]
    point = robust_at(curve_of(sizes), eps)
    larger = sum(size > eps for size in sizes)
    assert abs(point.robust * len(sizes) - larger) <= sum(near) + 1e-9
    assert point.low - 1e-9 <= point.robust <= point.high + 1e-9


def test_a_radius_counts_what_attacks_in_its_ball_may_find() -> None:
    """Rounding to float32 puts an adversarial image at eps a little outside."""
    assert robust_at(curve_of([np.nextafter(np.float32(0.1), 1), 0.2]), 0.1).robust == 0.5


def test_beyond_the_end_nothing_is_known() -> None:
    with pytest.raises(UsageError, match=r"expected a radius of at most 0.4, where the curve ends, got 0.5"):
        robust_at(curve_of([0.1]), 0.5)


@pytest.mark.parametrize("n", [6, 25, 200, 1000])
def test_the_interval_of_the_median_is_that_of_the_sign_test(n: int) -> None:
    sizes = np.random.default_rng(n).random(n).astype(np.float32)
    median, low, high = median_interval(sizes)
    reference = quantile_test(sizes.astype(np.float64), p=0.5).confidence_interval(confidence_level=0.95)
    assert (low, high) == pytest.approx((reference.low, reference.high))
    assert median == np.sort(sizes)[(n + 1) // 2 - 1]
    assert np.mean(sizes > median) <= 0.5


def test_the_interval_of_the_median_holds_it_in_95_of_100_samples() -> None:
    generator = np.random.default_rng(1)
    ends = [median_interval(generator.random(80).astype(np.float32))[1:] for _ in range(2000)]
    held = np.mean([low <= 0.5 <= high for low, high in ends])
    assert held >= 0.94


def test_a_median_beyond_the_end_is_said_so() -> None:
    summary = summarize_curve(curve_of([0.1, np.inf, np.inf]), 0.1)
    assert (summary.median, summary.median_high) == (None, None)
    assert median_words(summary) == "more than 0.4"


def test_the_area_is_the_integral_of_r() -> None:
    curve = curve_of([0.0, 0.1, 0.25, np.inf])
    radii = np.linspace(0, 0.4, 40_001)
    robust = [robust_at(curve, radius).robust for radius in radii[::10]]
    assert summarize_curve(curve, 0.1).area == pytest.approx(np.trapezoid(robust, radii[::10]), abs=1e-4)
    assert summarize_curve(curve, 0.1).area == pytest.approx((0 + 0.1 + 0.25 + 0.4) / 4)


def test_the_band_is_as_wide_as_the_inequality_says() -> None:
    assert 2 * np.exp(-2 * 200 * band_reach(200) ** 2) == pytest.approx(0.05)


def test_two_curves_are_compared_on_the_samples_that_both_have() -> None:
    numbers_a, numbers_b = np.array([3, 1, 7, 9]), np.array([9, 3, 5, 1])
    a, b = curve_of([0.3, 0.2, 0.1, np.inf]), curve_of([0.1, 0.1, 0.1, 0.2005])
    found = compare_curves((a, numbers_a), (b, numbers_b))
    # sample 1: 0.2 and 0.2005 are equal to 1 %; 3: 0.3 and 0.1; 9: more than 0.4 and 0.1
    assert (found.n, found.larger_a, found.larger_b, found.ties) == (3, 2, 0, 1)
    assert found.p == binomtest(2, 2).pvalue
    assert found.area_difference == pytest.approx((0.2 + 0.3 - 0.0005) / 3, abs=1e-6)
    assert (found.gap, found.gap_at) == (pytest.approx(2 / 3), pytest.approx(0.1))


def test_one_image_says_nothing_of_an_area() -> None:
    numbers = np.array([3])
    found = compare_curves((curve_of([0.1]), numbers), (curve_of([np.inf]), numbers))
    assert (found.low, found.high) == (pytest.approx(-0.4), pytest.approx(0.4))
    alone = summarize_curve(curve_of([0.1]), 0.1)
    assert (alone.area_low, alone.area_high) == (0, 0.4)


def test_a_curve_against_itself_has_no_difference() -> None:
    curve, numbers = curve_of([0.0, 0.1, 0.2, np.inf]), np.arange(4)
    found = compare_curves((curve, numbers), (curve, numbers))
    assert (found.ties, found.p, found.area_difference, found.gap) == (4, 1.0, 0.0, 0.0)


def test_json_has_null_where_nothing_was_found() -> None:
    values = curve_values(curve_of([0.0, 0.1, np.inf]), 0.1)
    assert values["sizes"] == [0.0, pytest.approx(0.1), None]
    assert values["found_by"] == [None, "minimal-2", None]
    assert values["points"][2] == {"eps": 0.1, "robust": pytest.approx(1 / 3), "low": pytest.approx(0.0615, abs=1e-3),
                                   "high": pytest.approx(0.7923, abs=1e-3)}  # fmt: skip
