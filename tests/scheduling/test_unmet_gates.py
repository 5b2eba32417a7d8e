"""Unmet gates of a scheduled scan: what a webhook receives about them."""

import html
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.schedules import add_schedule, claim_run, find_schedule, last_run, runs_to_report
from auditor.db.session import open_database
from auditor.scheduling.alerts import Alerts
from auditor.scheduling.due import describe_unmet, run_schedule
from tests.factories.webhook import Hook, hook  # noqa: F401

SCAN = ("scan", "demo", "--samples", "8")


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


@pytest.fixture
def heard(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Hook:  # noqa: F811
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", hook.url)
    monkeypatch.setenv("AUDITOR_WEBHOOK_PRIVATE", "true")
    settings.cache_clear()
    return hook


def report(engine: Engine, hook: Hook, *words: str) -> list[str]:  # noqa: F811
    """Run a schedule; the lines of the message that the webhook has received since."""
    add_schedule(engine, "nightly", "0 2 * * *", (*SCAN, *words), replace=True)
    run = claim_run(engine, find_schedule(engine, "nightly"), datetime.now(UTC))
    assert run_schedule(engine, run, local=True) is None
    before = len(hook.heard)
    Alerts(engine).send()
    assert not runs_to_report(engine)
    return [line for _, body in hook.heard[before:] for line in html.unescape(body["text"]).splitlines()]


@pytest.mark.long
def test_a_message_names_each_model_and_what_was_expected(engine: Engine, heard: Hook) -> None:
    gate = ("--model", "standard", "--model", "noise", "--fail-under", "45%")
    first, second = report(engine, heard, *gate)
    assert first == "schedule nightly, scan 1: nothing to compare"
    assert second.startswith("a gate was not met, 2 times: demo:")
    for name in ("standard", "noise"):
        assert f"demo:{name}: expected a robust accuracy of at least 45.0 %, got " in second
    assert "error" not in second
    assert last_run(engine, find_schedule(engine, "nightly")).reason == second
    again = report(engine, heard, *gate)  # done before, so nothing is measured: the gate is still not met
    assert again == ["schedule nightly, scan 2 after scan 1: 2 the same", second]


@pytest.mark.long
def test_a_gate_that_is_met_sends_nothing(engine: Engine, heard: Hook) -> None:
    assert report(engine, heard, "--model", "at-eps0.10", "--fail-under", "1%", "--fail-on-regression") == []


@pytest.mark.long
def test_gates_on_a_curve_are_named_with_their_radius(engine: Engine, heard: Hook) -> None:
    gates = ("--curve", "--fail-under-at", "100%@0.1", "--fail-under-area", "0.9")
    (_, second) = report(engine, heard, "--model", "standard", *gates)
    assert second.startswith("a gate was not met, 2 times: demo:standard: expected a robust accuracy of at least 100")
    assert " at 0.1, got " in second
    assert "expected an area under the curve of at least 0.9, got " in second


def test_a_reason_names_three_gates_in_one_line_of_which_none_is_cut_in_the_middle() -> None:
    lines = [f"gate not met: local:{number}-{'x' * 300}: got 1 %" for number in range(9)]
    reason = describe_unmet(["a note", *lines, "error: 9 gates not met, of 9 models; all results are stored"])
    assert reason.startswith("a gate was not met, 9 times: local:0-xxx")
    assert reason.endswith("x…; and 6 more")
    assert [f"local:{number}-" in reason for number in range(4)] == [True, True, True, False]
    assert len(reason) <= 500
    assert describe_unmet([]) == "a gate was not met"
    assert describe_unmet(["error: no reason"]) == "a gate was not met: no reason"
