"""Watching what does not change, and showing that one lives."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from auditor.config import settings
from auditor.db.leases import Leases
from auditor.db.scans import cancel_scan
from auditor.db.session import make_engine, open_database
from auditor.db.store import Store
from auditor.db.workers import list_workers
from auditor.jobs.lease import (
    ExpiryWatch,
    Heartbeat,
    JobCancelledError,
    LeaseLostError,
    host_name,
    is_gone,
    process_name,
)
from tests.factories.records import REQUEST, entry, record


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


SECONDS = 60.0
steps = st.lists(
    st.tuples(
        st.floats(0, 0.75 * SECONDS),  # until the next look; more than half of SECONDS is a gap
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=3),
    ),
    max_size=60,
)


@given(steps)
def test_stale_is_what_was_seen_unchanged_for_so_long_by_somebody_who_looked(looks: list[Any]) -> None:
    """Against the definition: the stretch of looks, without a gap, in which a key had this one value."""
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    past: list[tuple[float, dict[str, int]]] = [(clock.at, {})]
    for wait, signs in looks:
        clock.at += wait
        past.append((clock.at, signs))
        expected = []
        for key in signs:
            since = clock.at
            for (at, seen), (before, earlier) in zip(reversed(past), reversed(past[:-1]), strict=False):
                if seen.get(key) != signs[key] or at - before > SECONDS / 2:
                    break
                if earlier.get(key) == signs[key]:
                    since = before
            if clock.at - since >= SECONDS:
                expected.append(key)
        assert watch.find_stale(signs) == expected


@given(st.lists(st.floats(0.01, SECONDS / 2), min_size=1, max_size=50))
def test_who_looks_regularly_finds_it_and_not_too_early(waits: list[float]) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    assert watch.find_stale({"a": 1}) == []
    since = clock.at
    for wait in waits:
        clock.at += wait
        assert watch.find_stale({"a": 1}) == (["a"] if clock.at - since >= SECONDS else [])


@pytest.mark.parametrize(
    ("looks", "stale"),
    [
        ([(0, 1), (30, 1), (30, 1)], True),
        ([(0, 1), (30, 1), (29.9, 1)], False),
        ([(0, 1), (30, 2), (30, 2)], False),  # it changed
        ([(0, 1), (30, 2), (30, 1)], False),  # and changed back
        ([(0, 1), (20, None), (20, 1), (20, 1)], False),  # it was away
        ([(0, 1), (30, 1), (30.1, 1)], False),  # who looks was frozen
        ([(0, 1), (86400, 1), (0, 1)], False),
        ([(0, 1), (86400, 1), (30, 1), (30, 1)], True),
        ([(0, None), (30, None), (30, 1)], False),
    ],
)
def test_what_counts_as_stale(looks: list[tuple[float, int | None]], stale: bool) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    for wait, value in looks:
        clock.at += wait
        found = watch.find_stale({} if value is None else {"a": value})
    assert found == (["a"] if stale else [])


def test_what_was_forgotten_begins_anew() -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    for wait in (0, 30, 29):
        clock.at += wait
        watch.find_stale({"a": 1})
    watch.reset()
    clock.at += 1
    assert watch.find_stale({"a": 1}) == []


def test_nobodys_wall_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    wall = iter([0.0, 1e12, -1e12, 5.0])
    monkeypatch.setattr(time, "time", lambda: next(wall))
    found = []
    for wait in (0, 30, 30):
        clock.at += wait
        found.append(watch.find_stale({"a": 1}))
    assert found == [[], [], ["a"]]


@pytest.mark.parametrize("slot", [0, 1, 12])
def test_a_process_that_lives_is_not_gone(slot: int) -> None:
    name = process_name(slot)
    assert name == f"{host_name()}:{os.getpid()}" + (f"/{slot}" if slot else "")
    assert not is_gone(name)


def test_a_process_is_gone_once_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = [f"{host_name()}:{process.pid}{slot}" for slot in ("", "/3")]
    assert [is_gone(name) for name in names] == [False, False]
    process.communicate(b"\n")
    assert [is_gone(name) for name in names] == [True, True]
    assert not is_gone(f"another-host:{process.pid}")


@pytest.mark.parametrize("name", ["", ":", "a", "a:b", f"{host_name()}:", f"{host_name()}:x/1"])
def test_what_is_no_name_of_a_process_is_not_said_to_be_gone(name: str) -> None:
    assert not is_gone(name)


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


def test_a_lease_that_is_longer_than_the_watchers_own_counts() -> None:
    at = [0.0]
    watch = ExpiryWatch(3, lambda: at[0])
    stale = []
    for second in range(70):
        at[0] = float(second)
        stale.append(watch.find_stale({"short": 1, "long": 1}, {"short": 1.0, "long": 60.0}))
    assert stale[2] == []
    assert stale[3] == ["short"]
    assert stale[59] == ["short"]
    assert stale[60] == ["short", "long"]
