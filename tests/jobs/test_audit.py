"""One audit from claim to stored row: what is said where the database does not take it."""

from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from auditor.config import settings
from auditor.db.scans import load_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.jobs.audit import AuditExecutor
from auditor.jobs.heartbeat import Heartbeat
from auditor.records import LOCAL_QUEUE, AuditRecord, AuditRequest, JobContext, Measurement
from auditor.records.scans import ScanAudit
from tests.factories.records import REQUEST, entry, record

ASKED = Measurement(audit=AuditRequest(protocol="quick"), samples=3)


def refuse(error: type[Exception]) -> Any:
    def refused(*_: Any) -> bool:
        raise error("INSERT …", {}, ValueError("value out of range"))

    return refused


@pytest.fixture
def store() -> Store:
    return Store(open_database(settings().database_url))


def run(store: Store, **options: Any) -> tuple[str, ScanAudit]:
    scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()])

    def measure(_: Any, __: Any, ___: Any, context: JobContext) -> AuditRecord | None:
        return record() if context.needs_measuring(record().identity) else None

    with Heartbeat(store.engine, queue=LOCAL_QUEUE, device="cpu", lease=60) as heartbeat:
        executor = AuditExecutor(store=store, measure=measure, heartbeat=heartbeat)
        ended = executor.run(job, lambda: None, ASKED, **options)
    (audit,) = load_scan(store.engine, scan_id).audits
    return ended, audit


def test_done_and_done_before(store: Store) -> None:
    assert run(store)[0] == "done"
    ended, audit = run(store)
    assert (ended, audit.reused) == ("reused", True)
    assert run(store, force=True)[0] == "done"
    assert run(store, reverify=True)[0] == "verified"


def test_what_the_database_does_not_take_is_the_audits_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "finish", refuse(DataError))
    ended, audit = run(store)
    assert ended == "failed: could not be stored: value out of range"
    assert (audit.state, audit.reason) == ("failed", "could not be stored: value out of range")


def test_a_database_that_stays_away_gets_the_job_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "finish", refuse(OperationalError))
    with pytest.raises(OperationalError):
        run(store)
    (audit,) = load_scan(store.engine, 1).audits
    assert (audit.state, audit.losses) == ("queued", 0)


def test_a_process_that_ends_while_it_stores_gives_its_job_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM arrives after the measurement and before the commit."""

    def end(*_: Any) -> bool:
        raise SystemExit(143)

    monkeypatch.setattr(store, "finish", end)
    with pytest.raises(SystemExit):
        run(store)
    (audit,) = load_scan(store.engine, 1).audits
    assert (audit.state, audit.losses) == ("queued", 0)


def test_a_process_that_ends_while_it_waits_for_its_heartbeat_gives_its_job_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM arrives after the claim, while the heartbeat's thread holds the lock because the database is slow."""

    def end(*_: Any) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(Heartbeat, "keep_lease", end)
    with pytest.raises(SystemExit):
        run(store)
    (audit,) = load_scan(store.engine, 1).audits
    assert (audit.state, audit.losses) == ("queued", 0)


def test_a_process_that_ends_while_it_fails_a_job_gives_it_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: Any) -> bool:
        raise SystemExit(143)

    monkeypatch.setattr(store, "finish", refuse(DataError))
    monkeypatch.setattr(store, "fail", end)
    with pytest.raises(SystemExit):
        run(store)
    (audit,) = load_scan(store.engine, 1).audits
    assert (audit.state, audit.losses) == ("queued", 0)


def test_a_result_that_cannot_be_packed_is_the_audits_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(*_: Any) -> bool:
        raise OverflowError("too many classes")

    monkeypatch.setattr(store, "finish", pack)
    ended, audit = run(store)
    assert ended == "failed: OverflowError: too many classes"
    assert (audit.state, audit.reason) == ("failed", "OverflowError: too many classes")


def test_an_audit_of_another_queue_is_left_alone(store: Store) -> None:
    scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()], queue="gpu")
    with Heartbeat(store.engine, queue="cpu", device="cpu", lease=60) as heartbeat:
        executor = AuditExecutor(store=store, measure=lambda *_: record(), heartbeat=heartbeat)
        assert executor.run(job, lambda: None, ASKED) == "taken"
    (audit,) = load_scan(store.engine, scan_id).audits
    assert (audit.state, audit.attempt) == ("queued", 0)
