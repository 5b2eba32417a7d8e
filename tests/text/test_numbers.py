"""Numbers as text."""

import math
from decimal import Decimal

import pytest

from auditor.text import numbers
from auditor.text.numbers import DASH, MINUS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.number(-0.4149), "-0.41"),
        (numbers.number(-0.4149, 3, MINUS), "−0.415"),
        (numbers.number(math.nan), DASH),
        (numbers.significant(4.123e-7), "4.12e-07"),
        (numbers.significant(None), DASH),
        (numbers.matrix_entry(-0.04), "0.0"),
        (numbers.matrix_entry(-0.06), "−0.1"),
        (numbers.percent(0.41), "41.0 %"),
        (numbers.percent(Decimal("0.45")), "45.0 %"),
        (numbers.percent(0.41567, 2), "41.57 %"),
        (numbers.percent(None), DASH),
        (numbers.percent_number(0.41), "41.0"),
        (numbers.percent_narrow(0.41), "41.0%"),
        (numbers.points(0.012), "+1.2"),
        (numbers.points(-0.012, MINUS), "−1.2"),
        (numbers.interval(-0.01, 0.02, numbers.points), "-1.0 to +2.0"),
        (numbers.estimate(0.71, 0.52, 0.84), "0.71 (95 % interval 0.52 to 0.84)"),
        (numbers.estimate(0.71, 0.52, 0.84, ", n = 9"), "0.71 (95 % interval 0.52 to 0.84, n = 9)"),
        (numbers.plus_minus(0.0049), "±0.005"),
        (numbers.plus_minus(0.005), "±0.01"),
        (numbers.plus_minus(None), ""),
        (numbers.p_value(0.001), "0.001"),
        (numbers.p_value(0.0009), "<0.001"),
        (numbers.p_value(0.0009, "< "), "< 0.001"),
        (numbers.p_value(None), DASH),
        (numbers.p_equation(0.0009), "p < 0.001"),
        (numbers.p_equation(0.05), "p = 0.050"),
    ],
)
def test_numbers_are_formatted(text: str, expected: str) -> None:
    assert text == expected
