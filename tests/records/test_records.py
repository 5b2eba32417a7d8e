"""Attack radii as text and back."""

import math

import pytest

from auditor.text.eps import format_eps, parse_eps


@pytest.mark.parametrize(
    ("text", "eps"), [("8/255", 8 / 255), ("0.03", 0.03), (" 1e-3 ", 0.001), (0.5, 0.5), (2, 2.0), ("3/2", 1.5)]
)
def test_numbers_and_fractions_are_radii(text: object, eps: float) -> None:
    assert parse_eps(text) == eps
    assert math.isclose(parse_eps(format_eps(eps)), eps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eight", "expected a number such as 0.03 or 8/255, got 'eight'"),
        ("", "expected a number such as 0.03 or 8/255, got ''"),
        ("8/0", "got '8/0'"),
        ("8/255/2", "got '8/255/2'"),
        (10**400, "expected a number"),
        (True, "expected a number such as 0.03 or 8/255, got True"),
        ([0.1], "expected a number"),
        (None, "expected a number"),
        ("0", "expected a radius above 0, in units of the [0, 1] pixels, got '0'"),
        (-0.1, "expected a radius above 0"),
        ("nan", "expected a radius above 0"),
        ("1e400", "expected a radius above 0"),
    ],
)
def test_what_is_no_radius_is_refused(text: object, message: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_eps(text)
    assert message in str(caught.value)
