"""The calibration beside every screen result: the file's own numbers, and beside nothing else."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.data import gap_calibration as calibration
from auditor.data.gap_calibration import load_calibration
from auditor.results.calibration import calibration_lines, format_calibration
from tests.factories.command import run

FILE = tomllib.loads(Path(calibration.__file__).with_suffix(".toml").read_text())


@pytest.mark.long
@pytest.mark.parametrize("linearization", ["remove", "fold"])
def test_screen_results_carry_the_numbers_of_the_file(linearization: str) -> None:
    table = run("scan", "demo", "--protocol", "screen", "--model", "noise", "--linearization", linearization).stdout
    shown = run("results", "show", "demo:noise").stdout
    found = FILE[linearization]
    for text in (table, shown):
        for line in calibration_lines(linearization):
            assert line in text.splitlines()
        assert f"n = {found['n']}, {found['robust']} with" in text
        assert f"AUC {found['auc']:.2f} (95 % interval {found['low']:.2f} to {found['high']:.2f})" in text
        assert f"above {found['gap_95']:.2f}." in text
        assert ("batch norm folded" in text.split("On the demo zoo")[1]) is (linearization == "fold")


@pytest.mark.long
def test_attacked_results_carry_none() -> None:
    table = run("scan", "demo", "--samples", "20", "--model", "noise").stdout
    assert "AUC" not in table + run("results", "show", "demo:noise").stdout
    both = run("results", "list").stdout
    assert "randomly initialised" not in both


@pytest.mark.long
def test_json_rows_stay_as_they_are() -> None:
    assert "AUC" not in run("scan", "demo", "--protocol", "screen", "--model", "noise", "--format", "json").stdout


def test_an_interval_that_includes_a_coin_says_so() -> None:
    found = load_calibration("remove")
    assert "may be no better than chance" in format_calibration(replace(found, low=0.5))[0]
    assert "chance" not in format_calibration(replace(found, low=0.51))[0]
