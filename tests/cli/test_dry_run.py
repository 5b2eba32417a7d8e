"""``auditor scan --dry-run``: the planned audits and their estimated time; no audit runs."""

import json
import re
import shutil
from pathlib import Path

import pytest

from auditor.cli.output.plan import duration, together
from auditor.zoo.demo import WEIGHTS
from tests.factories.command import audits, run

CHOSEN = ("--match", "*standard", "--samples", "20")


def plan(*arguments: object) -> dict[str, dict]:
    result = run("scan", *arguments, "--dry-run", "--format", "json")
    assert result.exit_code == 0, result.stderr
    return {row["model"]: row for row in json.loads(result.stdout)}


@pytest.mark.long
def test_only_audits_to_do_are_estimated() -> None:
    first = plan("demo", *CHOSEN)
    assert {row["plan"] for row in first.values()} == {"to do"}
    assert all(0 < row["seconds"] <= row["seconds_at_most"] for row in first.values())
    assert all(row["memory_bytes"] > 10**8 for row in first.values())
    assert audits() == 0
    run("scan", "demo", *CHOSEN, "--limit", "1")
    again = plan("demo", *CHOSEN)
    assert [row["plan"] for row in again.values()] == ["done before", "to do"]
    assert audits() == 1
    assert {row["plan"] for row in plan("demo", *CHOSEN, "--force").values()} == {"to do"}
    table = run("scan", "demo", *CHOSEN, "--dry-run").stdout
    assert "1 done before, 1 to do" in table
    assert re.search(r"about \d+ s, at most \d+ s", table)


def test_a_model_that_would_fail_has_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "zoo")
    (tmp_path / "zoo" / "standard.safetensors").write_bytes(b"{}")
    monkeypatch.setenv("AUDITOR_DEMO_WEIGHTS", str(tmp_path / "zoo"))
    row = plan("demo", "--model", "standard", "--protocol", "screen")["demo:standard"]
    assert (row["plan"], row["seconds_at_most"]) == ("fails", None)
    assert "SHA-256" in row["reason"]


def test_nothing_is_downloaded_even_if_a_file_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    absent, bad = "cifar10/Linf/Carmon2019Unlabeled", "cifar10/Linf/Sehwag2020Hydra"
    folder = tmp_path / "models" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "Sehwag2020Hydra.pt").write_text("<html>busy</html>")
    found = plan("robustbench", tmp_path / "models", "--model", absent, "--model", bad, "--protocol", "screen")
    assert found[f"robustbench:{absent}"]["plan"] == "to download"
    assert found[f"robustbench:{bad}"]["plan"] == "fails"
    assert "an HTML page" in found[f"robustbench:{bad}"]["reason"]
    assert "nothing is downloaded now" in found[f"robustbench:{bad}"]["reason"]
    assert (folder / "Sehwag2020Hydra.pt").read_text() == "<html>busy</html>"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (45, "45 s"), (720, "12 min"), (12000, "3 h 20 min"), (3599, "1 h 0 min"), (187_200, "2 d 4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "jobs", "whole"),
    [
        ([3, 2, 1], 1, 6),
        ([3, 2, 1], 2, 3),
        ([1, 2, 3], 2, 4),
        ([1, 1, 9], 3, 9),
        ([5], 4, 5),
        ([1] * 10, 3, 4),
    ],
)
def test_jobs_side_by_side_end_when_the_last_one_does(seconds: list[float], jobs: int, whole: float) -> None:
    assert together(seconds, jobs) == whole
