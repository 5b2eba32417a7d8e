"""Intervals against SciPy and closed forms, and the rule of the verdicts as a table."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditor.reproduce.records import Estimate
from auditor.reproduce.rules import compare_verdicts, decide, decide_absent, over_images, over_units


def test_units_have_students_interval() -> None:
    values = [0.31, 0.02, 0.4, 0.27]
    found = over_units(values, "families")
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert found.over == "4 families"


@pytest.mark.parametrize("values", [[], [0.3], [0.3, math.nan]])
def test_units_without_an_interval(values: list[float]) -> None:
    found = over_units(values, "seeds")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert decide("x", found, "number").verdict == "not decided"


def test_images_have_agrestis_and_mins_interval() -> None:
    both, first, second, neither = 30, 9, 3, 8
    one = np.repeat([True, True, False, False], [both, first, second, neither])
    other = np.repeat([True, False, True, False], [both, first, second, neither])
    found = over_images([one], [other])
    # Half an image is added to each cell of the table; Wald's interval follows.
    n, b, c = 50 + 2, first + 0.5, second + 0.5
    reach = stats.norm.ppf(0.975) * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert found.value == pytest.approx(6 / 50)
    assert (found.low, found.high) == pytest.approx(((b - c) / n - reach, (b - c) / n + reach))


verdicts = st.integers(1, 4).flatmap(
    lambda seeds: st.integers(2, 20).flatmap(
        lambda n: st.tuples(
            *[st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=seeds, max_size=seeds)] * 2
        )
    )
)


@given(verdicts)
def test_the_difference_changes_its_sign_with_the_sides(sides: tuple[list[list[bool]], list[list[bool]]]) -> None:
    first, second = ([np.array(one) for one in side] for side in sides)
    there, back = over_images(first, second), over_images(second, first)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert -1 <= there.low <= there.high <= 1
    doubled = over_images(first * 2, second * 2)
    assert (doubled.low, doubled.high) == pytest.approx((there.low, there.high))  # more seeds are no more images


CASES = [
    (0.2, 0.1, 0.3, None, "reproduced"),
    (0.2, 0.1, 0.3, [0.2, 0.2], "reproduced"),
    (0.2, 0.1, 0.3, [0.4, 0.0], "not decided"),
    (-0.2, -0.3, -0.1, None, "not reproduced"),
    (0.0, -0.019, 0.019, None, "not reproduced"),
    (0.0, -0.021, 0.019, None, "not decided"),
    (0.1, -0.1, 0.3, [0.1, 0.1], "not decided"),
    (0.2, math.nan, math.nan, None, "not decided"),
    (math.nan, math.nan, math.nan, None, "not decided"),
]


@pytest.mark.parametrize(("value", "low", "high", "by_seed", "verdict"), CASES)
def test_the_rule(value: float, low: float, high: float, by_seed: list[float] | None, verdict: str) -> None:
    found = decide("x", Estimate(value=value, low=low, high=high, over="5 families"), "points", by_seed)
    assert found.verdict == verdict
    assert found.because


def test_verdicts_of_seeds_have_to_agree() -> None:
    yes, no = np.ones(100, bool), np.zeros(100, bool)
    assert compare_verdicts("x", [yes, yes], [no, no]).verdict == "reproduced"
    assert compare_verdicts("x", [yes, no], [no, no]).because.endswith("disagree in sign")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.04, 0.05, "reproduced"),
        (0.01, 0.04, "reproduced"),
        (0.01, 0.3, "not reproduced"),
        (-0.3, -0.1, "not reproduced"),
        (-0.1, 0.3, "not decided"),
        (math.nan, math.nan, "not decided"),
    ],
)
def test_the_rule_of_an_absent_gap(low: float, high: float, verdict: str) -> None:
    found = decide_absent("x", Estimate(value=(low + high) / 2, low=low, high=high, over="5 families"))
    assert found.verdict == verdict
