"""Sketches from the command to the stored rows, and never among exact results."""

import json
import math
import re
from pathlib import Path

import pytest

from auditor.config import settings
from auditor.db.results import load_detail
from auditor.db.session import open_database
from tests.factories.audits import audited, compare
from tests.factories.command import rows, run

SCREEN = ("--protocol", "screen", "--model", "at-eps0.10", "--model", "standard")


def listed(*arguments: str) -> list[dict]:
    return json.loads(run("results", "list", *arguments, "--format", "json").stdout)


@pytest.mark.long
def test_a_sketch_is_stored_as_one_beside_the_exact_result() -> None:
    exact = {row["model"]: row for row in rows(*SCREEN)}
    sketched = {row["model"]: row for row in rows(*SCREEN, "--sketch", "256")}
    for model, row in sketched.items():
        assert (row["correlation"], row["sketch"]) == ("sketch", 256)
        assert (exact[model]["correlation"], exact[model]["sketch"]) == ("exact", None)
        assert exact[model]["gap_error"] is None
        assert 0 < row["gap_error"] < 0.1
        assert row["gap"] != exact[model]["gap"]
        assert abs(row["gap"] - exact[model]["gap"]) < 4 * row["gap_error"]
    assert {row["id"] for row in rows(*SCREEN, "--sketch", "256")} == {row["id"] for row in sketched.values()}
    rows(*SCREEN, "--sketch", "64")
    assert sorted((row["sketch"] or 0) for row in listed()) == [0, 0, 64, 64, 256, 256]
    assert {row["sketch"] for row in listed("--correlation", "sketch")} == {64, 256}
    assert {row["sketch"] for row in listed("--correlation", "exact")} == {None}
    table = run("results", "list").stdout.splitlines()
    headings = [line for line in table if line.startswith("screen, ")]
    plain = "screen, fashion_mnist"
    assert sorted(headings) == [plain, f"{plain}, C a sketch of 256 probes", f"{plain}, C a sketch of 64 probes"]
    ranked = [line for line in table if "demo:at-eps0.10" in line]
    assert sum(bool(re.search(r"0\.\d\d±0\.\d\d", line)) for line in ranked) == 2
    assert sum(line.startswith("± is the standard error") for line in table) == 1
    engine = open_database(settings().database_url)
    parts = load_detail(engine, sketched["demo:standard"]["id"]).clusterings
    assert all(part.scores.gap_error > 0 for part in parts.values())
    parts = load_detail(engine, exact["demo:standard"]["id"]).clusterings
    assert all(math.isnan(part.scores.gap_error) for part in parts.values())


@pytest.mark.long
def test_show_says_exact_or_sketch_and_prefers_the_exact_one() -> None:
    (sketched,) = rows("--protocol", "screen", "--model", "standard", "--sketch", "64")
    text = run("results", "show", "standard").stdout
    assert re.search(r"correlation +sketch of 64 probes, gap ± 0\.\d\d", text)
    assert "gap_error" in text
    rows("--protocol", "screen", "--model", "standard", "--sketch", "128")
    assert "sketch of 128 probes" in run("results", "show", "standard").stdout
    rows("--protocol", "screen", "--model", "standard")
    text = run("results", "show", "standard").stdout
    assert re.search(r"correlation +exact\n", text)
    assert "gap_error" not in text
    assert "sketch of 64 probes" in run("results", "show", "standard", "--id", sketched["id"]).stdout


@pytest.mark.long
def test_figures_of_sketches_and_of_exact_results_are_not_mixed(tmp_path: Path) -> None:
    for number in range(3):
        audited(f"a{number}", 60 + number)
    audited("a0", 60, sketch=64)
    drawn = run("results", "plot", "--zoo", "-o", tmp_path / "zoo.png")
    assert drawn.exit_code == 0, drawn.stderr
    assert "left out: 1 result of quick, fashion_mnist, Linf 0.1, n = 100, C a sketch of 64 probes" in drawn.stderr


def test_two_models_are_compared_by_results_of_the_same_kind() -> None:
    for name, robust in (("a", 50), ("b", 60)):
        audited(name, robust, sketch=64)
    audited("a", 50)
    found = compare("a", "b")
    assert (found["a"]["sketch"], found["b"]["sketch"]) == (64, 64)
    assert found["a"]["correlation"] == "sketch"
    audited("b", 60)
    assert compare("a", "b")["b"]["sketch"] is None


@pytest.mark.parametrize("probes", ["7", "0", "many", "65537"])
def test_numbers_of_probes_that_cannot_be(probes: str) -> None:
    result = run("scan", "demo", "--sketch", probes)
    assert result.exit_code == 2
    assert "--sketch" in result.stderr
