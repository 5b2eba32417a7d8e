"""Heartbeats: leases are renewed, and a process learns that its job is lost or cancelled."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from auditor.config import settings
from auditor.db.leases import Leases
from auditor.db.scans import cancel_scan
from auditor.db.session import make_engine, open_database
from auditor.db.store import Store
from auditor.db.workers import list_workers
from auditor.jobs.heartbeat import Heartbeat, JobCancelledError, LeaseLostError
from auditor.jobs.process_names import process_name
from tests.factories.records import REQUEST, entry, record


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


def make_heartbeat(engine: Engine, **options: Any) -> Heartbeat:
    return Heartbeat(engine, **{"queue": "cpu", "device": "cpu", "lease": 60, **options})


def claimed(engine: Engine) -> tuple[int, int, int]:
    """Scan, audit and attempt."""
    scan_id, (job,) = Store(engine).create_scan("demo", REQUEST, [entry()], queue="cpu")
    return scan_id, job.audit_id, Store(engine).claim(job.audit_id, process_name())


def until(true: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_heartbeat_lists_its_process_and_removes_it_at_the_end(engine: Engine) -> None:
    with make_heartbeat(engine, slot=2, device="cuda (GPU 1)") as heartbeat:
        until(lambda: list_workers(engine))
        (row,) = list_workers(engine)
        assert (row.worker, row.queue, row.device) == (heartbeat.name, "cpu", "cuda (GPU 1)")
        assert (row.audit, row.part) == (None, None)
        assert heartbeat.name.endswith("/2")
    assert list_workers(engine) == []


def test_a_heartbeat_renews_the_lease_and_reports_progress(engine: Engine) -> None:
    scan_id, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine)
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt) as handle:
        before = Leases(engine).running()[0].until
        handle.progress("apgd-ce", 64, 256)
        heartbeat.beat()
        assert Leases(engine).running()[0].until > before
        (row,) = list_workers(engine)
        assert (row.scan, row.audit, row.model) == (scan_id, audit_id, "demo:a")
        assert (row.part, row.part_done, row.part_total) == ("apgd-ce", 64, 256)
        handle.check()
    heartbeat.beat()
    (row,) = list_workers(engine)
    assert (row.audit, row.part) == (None, None)
    renewed = Leases(engine).running()[0].until
    heartbeat.beat()
    assert Leases(engine).running()[0].until == renewed  # the job is no longer its own


def test_a_heartbeat_learns_that_its_job_is_cancelled(engine: Engine) -> None:
    scan_id, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine)
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt) as handle:
        heartbeat.beat()
        handle.check()
        cancel_scan(engine, scan_id, "enough")
        heartbeat.beat()
        with pytest.raises(JobCancelledError):
            handle.check()


def _expired(engine: Engine) -> None:
    assert Leases(engine).expire(Leases(engine).running()[0]) == "queued"


def _cancelled(engine: Engine) -> None:
    Store(engine).cancel(1, "gone")


def _reused(engine: Engine) -> None:
    """As the process does itself, at the end of a job: the audit is no longer there."""
    _, audit_id, attempt = claimed(engine)
    Store(engine).finish(audit_id, attempt, record())
    assert Store(engine).reuse(1, 1, 1, audit_id)


@pytest.mark.parametrize("fate", [_expired, _cancelled, _reused])
def test_a_heartbeat_learns_that_its_job_is_lost(engine: Engine, fate: Any) -> None:
    _, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine)
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt) as handle:
        heartbeat.beat()
        fate(engine)
        for _ in range(2):
            heartbeat.beat()
            with pytest.raises(LeaseLostError):
                handle.check()
        (row,) = list_workers(engine)
        assert row.audit is None
    heartbeat.beat()


def test_a_job_that_is_gone_between_two_statements_costs_one_sign(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine)
    monkeypatch.setattr(Leases, "renew", lambda *_: (_reused(engine), "active")[1])
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt):
        heartbeat.beat()
    monkeypatch.undo()
    heartbeat.beat()
    assert [row.worker for row in list_workers(engine)] == [heartbeat.name]


class Away:
    """A database that is away for as long as the test likes."""

    def __init__(self, engine: Engine) -> None:
        self.gone, self.asked = False, 0
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, *_: object) -> None:
        if self.gone:
            self.asked += 1
            raise OperationalError("connect", {}, Exception("connection refused"))


def test_a_heartbeat_continues_once_the_database_is_back(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    _, audit_id, attempt = claimed(engine)
    shaky = make_engine(settings().database_url)
    away = Away(shaky)
    heartbeat = make_heartbeat(shaky)
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt) as handle:
        away.gone = True
        for _ in range(3):
            heartbeat.beat()
        assert (away.asked, handle.state, list_workers(engine)) == (3, "active", [])
        away.gone = False
        heartbeat.beat()
        assert [row.audit for row in list_workers(engine)] == [audit_id]
        assert handle.state == "active"
    assert caplog.records == []
    shaky.dispose()


@pytest.mark.usefixtures("engine")
def test_a_heartbeat_whose_database_is_away_at_the_end_still_ends() -> None:
    shaky = make_engine(settings().database_url)
    away = Away(shaky)
    away.gone = True
    with make_heartbeat(shaky, lease=0.3):
        until(lambda: away.asked >= 2)
    assert threading.active_count() == len([one for one in threading.enumerate() if one.name != "heartbeat"])
    shaky.dispose()


def test_a_heartbeat_continues_after_an_unexpected_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = Leases.renew, []

    def renew(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("nobody foresaw this")
        return real(*arguments)

    monkeypatch.setattr(Leases, "renew", renew)
    _, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine, lease=0.3)
    with caplog.at_level(logging.ERROR), heartbeat.keep_lease(Leases(engine), audit_id, attempt) as handle, heartbeat:
        until(lambda: len(calls) >= 3)
        assert handle.state == "active"
    assert [one.getMessage() for one in caplog.records] == ["the heartbeat failed"]


@pytest.mark.long
def test_a_heartbeat_is_sent_several_times_in_a_lease(engine: Engine) -> None:
    _, audit_id, attempt = claimed(engine)
    heartbeat = make_heartbeat(engine, lease=0.6)
    seen = set()
    with heartbeat.keep_lease(Leases(engine), audit_id, attempt), heartbeat:
        end = time.monotonic() + 1.8
        while time.monotonic() < end:
            seen.add(Leases(engine).running()[0].until)
            time.sleep(0.02)
    assert len(seen) >= 4  # of nine
