"""``auditor scan --triage``: what is attacked, what is stored, and what it says."""

import json

import pytest

from tests.factories.command import rows, run

CHOSEN = ("--model", "at-eps0.10", "--model", "standard", "--samples", "20", "--here")


@pytest.mark.long
def test_models_below_the_threshold_are_screened_and_the_others_attacked() -> None:
    scores = {row["model"]: row["screen_score"] for row in rows(*CHOSEN[:4], "--protocol", "screen", "--here")}
    low, high = sorted(scores.values())
    assert 0 <= low < high <= 1
    # Neither of the two is drawn by chance: `test_a_tenth_of_the_others_is_drawn` is about that.
    first = run("scan", "demo", *CHOSEN, "--triage", high)
    assert first.exit_code == 0, first.output
    assert f"triage at {high:g}: 1 of 2 models attacked" in first.stdout
    assert "1 audited, 1 done before" in first.stderr  # the screen of the other is stored already
    listed = json.loads(run("results", "list", "--protocol", "quick", "--format", "json").stdout)
    assert [row["screen_score"] for row in listed] == [high]
    again = run("scan", "demo", *CHOSEN, "--triage", high)
    assert "0 audited, 2 done before" in again.stderr
    everything = run("scan", "demo", *CHOSEN)
    assert "1 audited, 1 done before" in everything.stderr
    assert len(json.loads(run("results", "list", "--protocol", "quick", "--format", "json").stdout)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--triage", "0.2", "--protocol", "screen"), "--triage has no meaning under 'screen'"),
        (("--triage", "1.5"), "--triage"), (("--triage", "-0.1"), "--triage"), (("--triage", "nan"), "--triage"),
        (("--triage", "half"), "--triage"),
    ],
)  # fmt: skip
def test_thresholds_that_make_no_sense_are_refused(arguments: tuple[str, ...], said: str) -> None:
    result = run("scan", "demo", *arguments, "--here")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
