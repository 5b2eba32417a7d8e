"""The fit and the evaluation on rows whose answer is known."""

import math
import tomllib

import numpy as np
import pytest

from auditor.screening.constants import Constants
from auditor.screening.features import FEATURES, FEATURES_OF_MANY, Statistics
from benchmarks.study.evaluate import auc, brier, counted, held_out_odds, report, rho, score_families
from benchmarks.study.fitting import constants_toml, digest_of, event, feature, features_of, fit
from tests.factories.study import row

ROWS = [row(number, strength=-3 + 6 * number / 59) for number in range(60)]


def test_the_event_is_half_of_what_is_classified_correctly() -> None:
    found = row(0, strength=0, clean=0.8, robust={"0.5": 0.41, "1": 0.4, "2": 0.39})
    assert [event(found, factor) for factor in (0.5, 1.0, 2.0)] == [True, True, False]


@pytest.mark.parametrize("name", sorted(FEATURES | FEATURES_OF_MANY))
@pytest.mark.parametrize("value", [0.0, 0.003, 0.7, math.nan])
def test_features_of_rows_are_those_of_the_score(name: str, value: float) -> None:
    found = row(1, strength=0)
    found["measures"][name] = value
    expected = (FEATURES | FEATURES_OF_MANY)[name](Statistics(found["measures"], 0.1))
    assert feature(found, name, 1.0) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_at_another_radius_lengths_shift_by_its_log(factor: float) -> None:
    found = row(2, strength=0)
    for name in FEATURES:
        shift = 0 if name.startswith("local_gap") else math.log2(factor)
        assert feature(found, name, factor) == pytest.approx(feature(found, name, 1.0) - shift)


def test_no_weight_is_negative_and_what_decides_has_the_most() -> None:
    found = fit(ROWS)
    assert (found.weights >= 0).all()
    by_name = dict(zip(found.names, found.weights, strict=True))
    assert min(by_name[n] for n in by_name if not n.startswith("local_gap/")) > by_name["local_gap/confident"]


def test_constants_give_the_score_that_was_fitted() -> None:
    found = fit(ROWS)
    held_out = score_families(ROWS, found.names)
    content = tomllib.loads(constants_toml({"Linf": (found, ROWS)}, {"Linf": held_out}))["Linf"]
    assert content["families_held_out"]["models"] == 60
    assert content["families_held_out"]["auc"] == [round(value, 3) for value in held_out.auc]
    assert held_out.auc[0] > 0.95
    assert held_out.rho[1] < held_out.rho[0] < held_out.rho[2]
    constants = Constants(
        content["intercept"], tuple((r["name"], r["mean"], r["deviation"], r["weight"]) for r in content["features"])
    )
    assert content["models"] == 60
    assert content["rows_sha256"] == digest_of(ROWS[::-1]) != digest_of(ROWS[1:])
    for some in ROWS[::7]:
        score, why = constants.score(Statistics(some["measures"], some["eps"]))
        odds = found.log_odds(features_of([some], found.names))[0]
        assert not why
        assert score == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("group", ["family", "training", "data"])
def test_what_is_held_out_is_predicted_where_margins_decide(group: str) -> None:
    odds = held_out_odds(ROWS, group)
    events = np.array([event(r) for r in ROWS])
    assert rho(odds, ROWS).value > 0.9
    assert auc(odds, events).value > 0.95
    assert brier(1 / (1 + np.exp(-odds)), events).value < 0.1


def test_a_group_of_one_cannot_be_left_out() -> None:
    assert np.isnan(held_out_odds([r | {"data": "a"} for r in ROWS], "data")).all()


def test_final_failed_and_flagged_models_are_not_counted() -> None:
    odd = [
        row(100, strength=0, final=True), row(101, strength=0, clean=0.3),
        row(102, strength=0, flags=["zero_gradients"]),
        row(103, strength=0, norm="L2"), row(59, strength=0, clean=0.8),
    ]  # fmt: skip
    kept, reasons = counted([*ROWS, *odd], "Linf", final=False)
    assert [r["model"] for r in kept] == [f"m{number}" for number in range(60)]
    assert kept[-1]["clean"] == 0.8  # the last row of a model
    assert len(reasons) == 2
    final, _ = counted([*ROWS, *odd], "Linf", final=True)
    assert [r["model"] for r in final] == ["m100"]


@pytest.mark.long
def test_the_report_has_all_rounds_and_hides_the_final_models() -> None:
    text = report([*ROWS, row(100, strength=0, final=True)], "Linf")
    assert all(f"one {group} left out: rho" in text for group in ("family", "training", "data"))
    assert "n = 60" in text
    assert "| margin/confident | no | 64 · (K + 1) + 64 · 8 | 60 |" in text
    assert "fewer than 8" in report(ROWS[:5], "Linf")
