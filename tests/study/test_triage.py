"""Triage on rows whose answer is known, and the passes it counts."""

import pytest

from benchmarks.study.triage import SCREENING, _passes, simulate, triage_table
from tests.factories.study import row

CLEAR = [row(number, strength=-4 if number < 40 else 4, n=500) for number in range(60)]


def test_passes_are_those_of_the_attacks_on_what_is_left() -> None:
    found = row(0, strength=0, clean=0.8, n=500, robust={"0.5": 0.5, "1": 0.2, "2": 0.1})
    assert _passes(found, "quick") == 400 * 42
    assert _passes(found, "standard") == 400 * 82 + 100 * 8800


@pytest.mark.parametrize("protocol", ["quick", "standard"])
def test_where_scores_are_clear_a_tenth_of_the_others_is_attacked_and_nothing_missed(protocol: str) -> None:
    (found,) = simulate(CLEAR, "Linf", protocol, thresholds=(0.5,))
    assert found.attacked == pytest.approx(0.1 + 0.09, abs=0.01)
    assert (found.missed, found.lossless) == (0, 1)
    passes = [_passes(one, protocol) for one in (CLEAR[0], CLEAR[-1])]
    expected = (100 * SCREENING + 9 * passes[0] + 10 * passes[1]) / (90 * passes[0] + 10 * passes[1])
    assert found.time == pytest.approx(expected, abs=0.02)


@pytest.mark.long
def test_without_a_threshold_all_are_attacked() -> None:
    (found,) = simulate(CLEAR, "Linf", "quick", thresholds=(0.0,))
    assert (found.attacked, found.missed) == (1, 0)
    assert "| Linf | standard | 0.2 |" in triage_table(CLEAR)
