"""``--fail-on-regression --sequential``: beside the last complete result, on the same images."""

import json
from pathlib import Path

import pytest

from tests.factories.command import rows, run, swap, zoo  # noqa: F401

SCAN = ("scan", "demo", "--model", "at-eps0.10", "--samples", "160")
GATE = ("--fail-on-regression", "--sequential")


@pytest.mark.long
def test_a_model_that_is_worse_is_found_early(zoo: Path) -> None:  # noqa: F811
    assert run(*SCAN).exit_code == 0
    swap(zoo, "at-eps0.10", "standard")
    result = run(*SCAN, *GATE, "--format", "json")
    assert result.exit_code == 4, result.stderr
    (row,) = json.loads(result.stdout)
    assert row["n"] < 160
    assert "stopped_early" in row["flags"]
    (note,) = [note for note in row["notes"] if note.startswith("decided after ")]
    assert note.startswith(f"decided after {row['n']} of 160 images: worse than result 1, ")
    assert f"demo:at-eps0.10: {note}" in result.stderr
    assert "gate not met: demo:at-eps0.10: expected no worse than result 1" in result.stderr
    assert f"a lower robust accuracy: of {row['n']} images, " in result.stderr
    # The stopped result is reused for the same question, and is no earlier result of the next one.
    again = run(*SCAN, *GATE, "--format", "json")
    assert again.exit_code == 4
    assert json.loads(again.stdout)[0]["id"] == row["id"]


@pytest.mark.long
def test_a_model_that_is_better_passes_early(zoo: Path) -> None:  # noqa: F811
    swap(zoo, "at-eps0.10", "standard")
    assert run(*SCAN).exit_code == 0
    swap(zoo, "at-eps0.10", "at-eps0.10")
    result = run(*SCAN, *GATE, "--format", "json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert row["n"] < 160
    assert any("better than result 1" in note for note in row["notes"])


@pytest.mark.long
def test_without_an_earlier_result_all_images_are_attacked() -> None:
    result = run(*SCAN, "--samples", "40", *GATE, "--format", "json")
    assert result.exit_code == 0
    assert "no earlier result under this setting" in result.stderr
    assert json.loads(result.stdout)[0]["n"] == 40
    # Nothing has changed: the complete result answers.
    again = run(*SCAN, "--samples", "40", *GATE, "--format", "json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)[0]["id"] == json.loads(result.stdout)[0]["id"]
    (planned,) = json.loads(run(*SCAN, "--samples", "40", *GATE, "--dry-run", "--format", "json").stdout)
    assert planned["plan"] == "done before"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sequential",), "--sequential needs one gate that may be decided early"),
        ((*GATE, "--fail-under", "40%"), "--sequential needs one gate that may be decided early"),
        ((*GATE, "--protocol", "screen"), "--sequential has no meaning under 'screen'"),
        ((*GATE, "--protocol", "strong"), "--sequential needs quick, standard or full"),
        ((*GATE, "--targeted", "superclass"), "--sequential attacks fewer images than --targeted needs"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], message: str) -> None:
    result = run("scan", "demo", *words)
    assert result.exit_code == 2
    assert message in result.stderr
