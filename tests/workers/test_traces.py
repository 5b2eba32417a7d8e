"""Traces of queued scans: from the command through the queue to workers, and what is left of a lost one."""

import signal

import pytest

from auditor import tracing
from auditor.config import settings
from tests.factories.collector import Collector
from tests.workers.team import Team, until


@pytest.mark.long
def test_a_queued_scan_is_one_trace_without_any_secret(collector: Collector, team_with_passwords: Team) -> None:
    team = team_with_passwords
    team.zoo.add("good")
    team.zoo.add("killed", function="killed")
    worker = team.worker().ready()
    scan_id = team.scan("--protocol", "quick", "--samples", "8")
    audits = team.ended(scan_id)
    until(lambda: len(collector.named("audit")) >= 2, 30, "both audits are recorded")
    worker.end()
    tracing.shut_down()
    assert b"geheim" not in collector.raw
    (scan,), (send,) = collector.named("scan"), collector.named("send")
    assert {span.trace for span in collector.spans} == {scan.trace}
    assert (scan.parent, send.parent, send.kind) == ("", scan.id, 4)
    assert (send["messaging.system"], send["messaging.destination.name"]) == ("redis", "cpu")
    assert send["messaging.batch.message_count"] == 2
    by_model = {span["auditor.model"]: span for span in collector.named("audit")}
    for model, row in audits.items():
        audit = by_model[f"local:{model}"]
        assert (audit.parent, audit.kind) == (scan.id, 5)
        assert (audit["auditor.audit"], audit["auditor.worker"]) == (row["audit"], row["worker"])
        assert audit.resource["auditor.program"] == "worker"
        assert audit["auditor.outcome"] == row["state"]
    assert scan.resource["auditor.program"] == "scan"
    attacks = [span for span in collector.spans if span.name.startswith("attack ")]
    assert {tuple(collector.above(span)) for span in attacks} == {("scan", "audit", "attacks")}
    databases = {span["db.system.name"] for span in collector.named("transaction")}
    assert databases == {"postgresql"}
    above = {tuple(collector.above(span)) for span in collector.named("transaction")}
    assert above == {("scan",), ("scan", "audit")}


@pytest.mark.long
def test_a_lost_attempt_has_its_own_span_below_the_same_scan(team: Team, collector: Collector) -> None:
    team.zoo.gate("held")
    scan_id = team.scan("--protocol", "screen")
    first = team.worker().ready()
    team.zoo.loading("held")
    second = team.worker().ready()
    first.kill()
    team.zoo.loading("held")
    team.zoo.open("held")
    team.ended(scan_id)
    until(lambda: len(collector.named("audit")) >= 2, 30, "both attempts are recorded")
    second.end()
    tracing.shut_down()
    (scan,) = collector.named("scan")
    lost, done = sorted(collector.named("audit"), key=lambda span: span["auditor.attempt"])
    assert (lost.parent, done.parent) == (scan.id, scan.id)
    assert (lost["auditor.outcome"], lost["auditor.state"], lost["auditor.attempt"]) == ("lost", "queued", 1)
    assert lost.error.endswith("ended unexpectedly; new state: queued")
    assert lost.resource["auditor.program"] == "reaper"
    assert lost.seconds > settings().lease_seconds / 2
    assert (done["auditor.outcome"], done["auditor.attempt"]) == ("done", 2)


@pytest.mark.long
def test_an_audit_that_is_given_up_is_three_lost_attempts(team: Team, collector: Collector) -> None:
    team.zoo.gate("held")
    scan_id = team.scan("--protocol", "screen")
    worker = team.worker().ready()
    for _ in range(3):
        team.zoo.loading("held")
        worker.kill_pool()
    team.ended(scan_id)
    until(lambda: len(collector.named("audit")) >= 3, 30, "all attempts are recorded")
    tracing.shut_down()
    lost = [span for span in collector.named("audit") if span["auditor.outcome"] == "lost"]
    states = {span["auditor.attempt"]: span["auditor.state"] for span in lost}
    assert states == {1: "queued", 2: "queued", 3: "failed"}
    assert {span.parent for span in lost} == {collector.named("scan")[0].id}


@pytest.mark.long
def test_a_worker_that_ends_sends_its_last_spans(
    team: Team, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    team.zoo.add("good")
    worker = team.worker().ready()
    team.ended(team.scan("--protocol", "screen"))
    worker.signal(signal.SIGTERM)
    worker.process.wait(60)
    assert [span["auditor.outcome"] for span in collector.named("audit")] == ["done"]
