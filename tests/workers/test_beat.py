"""Nightly scans by workers: a schedule, a beat, a worker and a webhook as real processes."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from tests.factories.webhook import Hook, hook  # noqa: F401
from tests.workers.team import Team, until


@pytest.mark.long
def test_a_scheduled_scan_is_run_by_workers_and_its_failures_are_told(
    team: Team,
    hook: Hook,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", hook.url)
    monkeypatch.setenv("AUDITOR_WEBHOOK_PRIVATE", "true")
    team.zoo.add("good")
    team.zoo.add("bad", function="killed")
    report = team.folder / "night.xml"
    words = ["scan", "local", team.zoo.folder, "--trust-code", "--protocol", "screen", "--junit", report]
    assert team.auditor("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", *words).exit_code == 0
    engine = create_engine(team.url)  # let it be due once, whatever the time is
    with engine.begin() as connection:
        before = datetime.now(UTC) - timedelta(days=2)
        connection.execute(text("UPDATE schedules SET changed_at = :before"), {"before": before})
    engine.dispose()
    team.worker().ready()
    log = team.folder / "beat.log"
    with log.open("wb") as said:
        beat = subprocess.Popen([sys.executable, "-m", "auditor", "beat"], stderr=said, env=dict(os.environ))
    try:
        until(lambda: hook.heard and report.exists(), 90, log.read_text())
    finally:
        beat.terminate()
        assert beat.wait(30) == 0
    ((_, message),) = hook.heard
    assert message["text"].startswith("schedule nightly, scan 1: 1 failed")
    assert "failed: local:bad: its process was killed" in message["text"]
    assert "SECRET" not in log.read_text()
    assert 'name="local:good"' in report.read_text()  # the scheduled command has waited for its results
    found = team.ended(1)
    assert {name: row["state"] for name, row in found.items()} == {"good": "done", "bad": "failed"}
