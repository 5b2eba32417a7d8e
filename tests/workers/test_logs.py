"""What a worker logs: JSON with ids from all its processes, and no password of its addresses."""

import json

import pytest

from tests.workers.team import Redis, Team, until


@pytest.mark.long
def test_every_line_is_json_with_ids_and_without_passwords(team_with_passwords: Team, own_broker: Redis) -> None:
    team = team_with_passwords
    team.zoo.add("good")
    team.zoo.add("telling", function="telling")
    team.zoo.add("killed", function="killed")
    worker = team.worker(AUDITOR_LOG_FORMAT="json").ready()
    scan_id = team.scan("--protocol", "screen")
    audits = team.ended(scan_id)
    own_broker.stop()
    until(lambda: "Cannot connect" in worker.read_log(), 60, worker.read_log())
    until(lambda: '"reaper"' in worker.read_log(), 60, worker.read_log())
    worker.end()
    text = worker.read_log()
    assert "geheim" not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    plain = [line for line in text.splitlines() if line and not line.startswith("{")]
    assert plain == []
    told = {line["model"]: line for line in lines if "outcome" in line and line["outcome"] != "taken"}
    assert {model: line["outcome"] for model, line in told.items()} == {
        "local:good": "done", "local:telling": "done", "local:killed": "failed",
    }  # fmt: skip
    for model, line in told.items():
        audit = audits[model.removeprefix("local:")]
        ids = {"scan": scan_id, "audit": audit["audit"], "attempt": 1, "worker": audit["worker"], "program": "worker"}
        assert ids.items() <= line.items()
    (said,) = [line for line in lines if line["message"] == "told by a model"]
    same = ("scan", "audit", "model", "attempt", "worker")
    assert [said[name] for name in same] == [told["local:telling"][name] for name in same]
    assert said["pid"] != told["local:telling"]["pid"]
    assert {"worker", "reaper"} == {line["program"] for line in lines}
    assert any(line["logger"].startswith("celery.") for line in lines)
