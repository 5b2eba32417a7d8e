"""Leases: who has a job, and that nobody who has it no longer changes anything, on both databases."""

import contextlib
import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.leases import LEASES_EXPIRED, MOST_LOSSES, Lease, Leases, Unsent
from auditor.db.scans import cancel_scan, list_local_scans, list_scans, load_scan, retry_scan
from auditor.db.store import Job, Store
from auditor.errors import UsageError
from tests.factories.records import REQUEST, entry, record

NAMES = itertools.count()


class LeasedJob:
    """A scan of so many jobs in a queue of its own, and what the tests ask about it."""

    def __init__(self, engine: Engine, jobs: int = 1, queue: str | None = None) -> None:
        self.engine, self.store, self.leases = engine, Store(engine), Leases(engine)
        self.queue = queue or uuid.uuid4().hex
        entries = [entry(f"leases-{next(NAMES)}") for _ in range(jobs)]
        self.scan_id, self.jobs = self.store.create_scan("demo", REQUEST | {"seconds": 7}, entries, queue=self.queue)
        self.audit_id = self.jobs[0].audit_id

    def lease(self, audit_id: int | None = None) -> Lease:
        (found,) = [one for one in self.leases.running() if one.job_id == (audit_id or self.audit_id)]
        return found

    def rows(self) -> dict[str, Any]:
        """All that the database says of the scan, but the signs of life."""
        with Session(self.engine) as session:
            ids = [job.audit_id for job in self.jobs]
            audits = session.execute(
                select(tables.Audit.__table__).where(tables.Audit.id.in_(ids)).order_by(tables.Audit.id)
            )
            scan = session.execute(select(tables.Scan.__table__).where(tables.Scan.id == self.scan_id))
            found = {"audits": [dict(row._mapping) for row in audits], "scan": dict(scan.one()._mapping)}
            for table in (tables.AttackProgress, tables.Clustering, tables.ScanAudit):
                rows = session.execute(select(table.__table__).where(table.audit_id.in_(ids)))
                found[table.__tablename__] = [dict(row._mapping) for row in rows]
        return found

    @property
    def row(self) -> dict[str, Any]:
        return self.rows()["audits"][0]

    @property
    def scan(self) -> tuple[str, int]:
        found = self.rows()["scan"]
        return found["state"], found["pending"]


def finish_another(leased: LeasedJob) -> int:
    other = LeasedJob(leased.engine)
    assert other.store.finish(other.audit_id, other.store.claim(other.audit_id), record())
    return other.audit_id


# Each write of a job, and what it answers to somebody whose attempt is not the current one.
WRITES: dict[str, tuple[Callable[[LeasedJob, int], object], object]] = {
    "finish": (lambda leased, attempt: leased.store.finish(leased.audit_id, attempt, record()), False),
    "fail": (lambda leased, attempt: leased.store.fail(leased.audit_id, attempt, "late"), False),
    "reuse": (
        lambda leased, attempt: leased.store.reuse(leased.scan_id, leased.audit_id, attempt, finish_another(leased)),
        False,
    ),
    "renew": (lambda leased, attempt: leased.leases.renew(leased.audit_id, attempt, 1000), "lost"),
    "give back": (lambda leased, attempt: leased.leases.give_back(leased.audit_id, attempt), False),
    "cancelled": (lambda leased, attempt: leased.leases.cancelled(leased.audit_id, attempt), False),
    "save": (lambda leased, attempt: leased.leases.save_progress(leased.audit_id, attempt, "k", b"late"), None),
    "expire": (
        lambda leased, attempt: leased.leases.expire(Lease(leased.audit_id, attempt, datetime.now(UTC), "somebody")),
        None,
    ),
}


def _given_back(leased: LeasedJob, attempt: int) -> None:
    assert leased.leases.give_back(leased.audit_id, attempt)


def _expired(leased: LeasedJob, _: int) -> None:
    assert leased.leases.expire(leased.lease()) == "queued"


def _claimed_again(leased: LeasedJob, attempt: int) -> None:
    _expired(leased, attempt)
    assert leased.store.claim(leased.audit_id) == attempt + 1
    leased.leases.save_progress(leased.audit_id, attempt + 1, "k", b"of the newer one")


def _finished(leased: LeasedJob, attempt: int) -> None:
    assert leased.store.finish(leased.audit_id, attempt, record())


def _failed(leased: LeasedJob, attempt: int) -> None:
    assert leased.store.fail(leased.audit_id, attempt, "a reason")


def _retried(leased: LeasedJob, attempt: int) -> None:
    _failed(leased, attempt)
    assert [job.audit_id for job in retry_scan(leased.engine, leased.scan_id, leased.queue, None)] == [leased.audit_id]


def _retried_and_claimed(leased: LeasedJob, attempt: int) -> None:
    _retried(leased, attempt)
    assert leased.store.claim(leased.audit_id) == attempt + 1


def _cancelled(leased: LeasedJob, _: int) -> None:
    leased.store.cancel(leased.scan_id, "interrupted")


def _asked_and_claimed_again(leased: LeasedJob, attempt: int) -> None:
    _claimed_again(leased, attempt)
    cancel_scan(leased.engine, leased.scan_id, "enough")


FATES = [
    _given_back, _expired, _claimed_again, _finished, _failed, _retried, _retried_and_claimed, _cancelled,
    _asked_and_claimed_again,
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__.strip("_"))
def test_who_has_lost_a_job_changes_nothing_of_it(shared: Engine, fate: Callable[..., None], write: str) -> None:
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id, "me")
    fate(leased, attempt)
    before = leased.rows()
    do, refused = WRITES[write]
    assert do(leased, attempt) == refused
    assert leased.rows() == before


@pytest.mark.parametrize("write", WRITES)
def test_who_has_it_does_change_it(shared: Engine, write: str) -> None:
    """The table above would hold of writes that do nothing at all."""
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id, "me")
    before = leased.rows()
    do, refused = WRITES[write]
    if write == "expire":
        assert leased.leases.expire(leased.lease()) == "queued"
    else:
        assert do(leased, attempt) != refused or write == "save"
    assert leased.rows() != before


def test_a_job_between_claim_and_end(shared: Engine) -> None:
    leased = LeasedJob(shared)
    assert (leased.row["state"], leased.row["attempt"], leased.scan) == ("queued", 0, ("running", 1))
    assert leased.store.claim(leased.audit_id, "host:1", 60) == 1
    first = leased.lease()
    assert (first.job_id, first.attempt, first.worker) == (leased.audit_id, 1, "host:1")
    assert (first.until - leased.row["started_at"]).total_seconds() == pytest.approx(60)
    assert leased.leases.renew(leased.audit_id, 1, 100) == "active"
    assert leased.lease().until > first.until
    cancel_scan(shared, leased.scan_id, "enough")
    assert (leased.row["state"], leased.row["cancelling"], leased.scan) == ("running", "enough", ("running", 1))
    assert leased.leases.renew(leased.audit_id, 1, 100) == "cancelling"
    assert not leased.leases.give_back(leased.audit_id, 1)
    assert leased.leases.cancelled(leased.audit_id, 1)
    assert (leased.row["state"], leased.row["reason"], leased.row["cancelling"]) == ("cancelled", "enough", None)
    assert leased.scan == ("interrupted", 0)
    assert leased.leases.renew(leased.audit_id, 1, 100) == "lost"


def test_what_finishes_before_it_learns_that_it_is_cancelled_is_done(shared: Engine) -> None:
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id)
    cancel_scan(shared, leased.scan_id, "too late")
    assert leased.store.finish(leased.audit_id, attempt, record())
    assert (leased.row["state"], leased.row["cancelling"], leased.scan) == ("done", None, ("done", 0))


def test_giving_back_costs_nothing_and_being_lost_three_times_ends_it(shared: Engine) -> None:
    leased = LeasedJob(shared)
    for _ in range(2 * MOST_LOSSES):
        assert leased.leases.give_back(leased.audit_id, leased.store.claim(leased.audit_id))
    assert (leased.row["state"], leased.row["losses"]) == ("queued", 0)
    for lost in range(1, MOST_LOSSES):
        leased.store.claim(leased.audit_id, f"host:{lost}")
        assert leased.leases.expire(leased.lease()) == "queued"
        assert (leased.row["losses"], leased.row["lease_until"], leased.row["sent_at"]) == (lost, None, None)
    leased.store.claim(leased.audit_id, "host:9")
    assert leased.leases.expire(leased.lease()) == "failed"
    assert leased.row["reason"] == (
        f"given up: {MOST_LOSSES} processes that ran it were lost and it made no progress, the last time host:9 gave "
        "no sign of life for the length of its lease"
    )
    assert leased.scan == ("done", 0)
    retry_scan(shared, leased.scan_id, leased.queue, None)
    assert (leased.row["state"], leased.row["losses"], leased.row["attempt"]) == ("queued", 0, 3 * MOST_LOSSES)


def test_a_job_that_was_to_be_cancelled_is_cancelled_when_its_process_is_lost(shared: Engine) -> None:
    leased = LeasedJob(shared)
    leased.store.claim(leased.audit_id, "host:1")
    cancel_scan(shared, leased.scan_id, "enough")
    assert leased.leases.expire(leased.lease()) == "cancelled"
    assert leased.row["reason"] == "enough; host:1 gave no sign of life for the length of its lease"
    assert leased.scan == ("interrupted", 0)


def test_a_lease_renewed_since_it_was_seen_is_not_expired(shared: Engine) -> None:
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id)
    seen = leased.lease()
    leased.leases.renew(leased.audit_id, attempt, 60)
    assert leased.leases.expire(seen) is None
    assert (leased.row["state"], leased.row["losses"]) == ("running", 0)


def test_progress_is_kept_under_its_key_and_gone_with_the_end(shared: Engine) -> None:
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id)
    assert leased.leases.load_progress(leased.audit_id, "k") is None
    for state in (b"one", bytes(range(256)), b""):
        leased.leases.save_progress(leased.audit_id, attempt, "k", state)
        assert leased.leases.load_progress(leased.audit_id, "k") == state
    assert leased.leases.load_progress(leased.audit_id, "other") is None
    leased.leases.save_progress(leased.audit_id, attempt, "other", b"two")
    assert leased.leases.load_progress(leased.audit_id, "k") is None  # one a job, the newest
    leased.leases.give_back(leased.audit_id, attempt)
    attempt = leased.store.claim(leased.audit_id)
    assert leased.leases.load_progress(leased.audit_id, "other") == b"two"
    leased.store.finish(leased.audit_id, attempt, record())
    assert leased.leases.load_progress(leased.audit_id, "other") is None


ENDS: dict[str, Callable[[LeasedJob, int], object]] = {
    "finish": lambda leased, attempt: leased.store.finish(leased.audit_id, attempt, record()),
    "fail": lambda leased, attempt: leased.store.fail(leased.audit_id, attempt, "a reason"),
    "reuse": lambda leased, attempt: leased.store.reuse(
        leased.scan_id, leased.audit_id, attempt, finish_another(leased)
    ),
    "cancel all": lambda leased, _: leased.store.cancel(leased.scan_id, "gone"),
    "cancelled while it ran": lambda leased, attempt: (
        cancel_scan(leased.engine, leased.scan_id, "enough"),
        leased.leases.cancelled(leased.audit_id, attempt),
    ),
    "cancelled while it waited": lambda leased, attempt: (
        leased.leases.give_back(leased.audit_id, attempt),
        cancel_scan(leased.engine, leased.scan_id, "enough"),
    ),
    "given up": lambda leased, _: [
        (leased.leases.expire(leased.lease()), leased.store.claim(leased.audit_id)) for _ in range(MOST_LOSSES)
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_a_job_leaves_no_progress_behind(shared: Engine, end: str) -> None:
    leased = LeasedJob(shared)
    attempt = leased.store.claim(leased.audit_id)
    leased.leases.save_progress(leased.audit_id, attempt, "k", b"hours of work")
    assert leased.rows()["attack_progress"] != []
    ENDS[end](leased, attempt)
    assert leased.rows()["attack_progress"] == []
    assert leased.scan[0] != "running"


def test_what_waits_and_what_was_sent_longest_ago(shared: Engine) -> None:
    leased = LeasedJob(shared, 5)
    other = LeasedJob(shared, 1)
    ids = [job.audit_id for job in leased.jobs]
    assert leased.leases.count_queued(leased.queue) == 5
    assert leased.leases.longest_unsent(leased.queue, 9) == [Unsent(one, 7) for one in ids]
    leased.leases.mark_sent(ids[:2])
    leased.leases.mark_sent(ids[3:4])
    leased.leases.mark_sent([])
    order = [one.job_id for one in leased.leases.longest_unsent(leased.queue, 9)]
    assert order == [ids[2], ids[4], ids[0], ids[1], ids[3]]
    assert [one.job_id for one in leased.leases.longest_unsent(leased.queue, 2)] == order[:2]
    attempt = leased.store.claim(ids[3])
    assert leased.leases.count_queued(leased.queue) == 4
    leased.leases.give_back(ids[3], attempt)  # its message is acknowledged by then
    assert [one.job_id for one in leased.leases.longest_unsent(leased.queue, 3)] == [ids[2], ids[3], ids[4]]
    assert other.leases.count_queued(other.queue) == 1
    assert other.leases.count_queued("no such queue") == 0


def test_more_are_marked_as_sent_than_one_statement_takes(shared: Engine) -> None:
    leased = LeasedJob(shared, 2)
    leased.leases.mark_sent([*range(10**6, 10**6 + 2500), leased.jobs[1].audit_id])
    sent = [row["sent_at"] is not None for row in leased.rows()["audits"]]
    assert sent == [False, True]


def test_jobs_of_a_process_of_their_own_are_not_for_workers_to_expire(shared: Engine) -> None:
    leased = LeasedJob(shared, queue="here")
    leased.store.claim(leased.audit_id)
    assert leased.audit_id not in [lease.job_id for lease in leased.leases.running()]
    assert leased.scan_id in [scan.scan_id for scan in list_local_scans(shared)]


@pytest.mark.long
def test_eight_claim_fifty_jobs_and_each_is_claimed_once(shared: Engine) -> None:
    leased = LeasedJob(shared, 50)
    barrier = threading.Barrier(8)

    def claim(number: int) -> list[int]:
        barrier.wait()
        return [job.audit_id for job in leased.jobs if leased.store.claim(job.audit_id, f"host:{number}") is not None]

    with ThreadPoolExecutor(8) as pool:
        claimed = [one for some in pool.map(claim, range(8)) for one in some]
    assert sorted(claimed) == [job.audit_id for job in leased.jobs]
    assert {row["attempt"] for row in leased.rows()["audits"]} == {1}


@pytest.mark.long
def test_of_two_who_expire_one_does(shared: Engine) -> None:
    for _ in range(15):
        leased = LeasedJob(shared)
        leased.store.claim(leased.audit_id)
        lease, barrier = leased.lease(), threading.Barrier(4)

        def expire(lease: Lease = lease, barrier: threading.Barrier = barrier) -> str | None:
            barrier.wait()
            return Leases(shared).expire(lease)

        with ThreadPoolExecutor(4) as pool:
            found = [one.result() for one in [pool.submit(expire) for _ in range(4)]]
        assert sorted(found, key=str) == [None, None, None, "queued"]
        assert leased.row["losses"] == 1


def _expired_count(engine: Engine) -> int:
    with Session(engine) as session:
        return session.scalar(select(tables.Counter.value).where(tables.Counter.name == LEASES_EXPIRED)) or 0


def test_of_two_who_expire_one_counts(shared: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite locks no row that is read, so both may find the job running before one of them changes it."""
    leased = LeasedJob(shared)
    leased.store.claim(leased.audit_id)
    lease, before = leased.lease(), _expired_count(shared)
    both = threading.Barrier(2)
    scalars = Session.scalars

    def read_together(*arguments: Any, **keywords: Any) -> Any:
        found = scalars(*arguments, **keywords)
        with contextlib.suppress(threading.BrokenBarrierError):  # PostgreSQL lets the other read after this one ended
            both.wait(1)
        return found

    monkeypatch.setattr(Session, "scalars", read_together)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(leased.leases.expire, [lease, lease]))
    monkeypatch.undo()
    assert sorted(found, key=str) == [None, "queued"]
    assert _expired_count(shared) == before + 1


def _hold(leased: LeasedJob, job: Job, attempt: int) -> None:
    """Keep it."""


def _return(leased: LeasedJob, job: Job, attempt: int) -> None:
    """As a process does that is told to end."""
    assert leased.leases.give_back(job.audit_id, attempt) or leased.leases.cancelled(job.audit_id, attempt)


@pytest.mark.long
@pytest.mark.parametrize("then", [_hold, _return], ids=["kept", "given back"])
def test_no_job_slips_through_when_its_scan_is_cancelled_as_it_is_claimed(
    shared: Engine, then: Callable[[LeasedJob, Job, int], None]
) -> None:
    for _ in range(25):
        leased = LeasedJob(shared, 3)
        barrier, held = threading.Barrier(3), {}

        def claim(part: slice, leased: LeasedJob = leased, barrier: Any = barrier, held: dict[int, int] = held) -> None:
            barrier.wait()
            for job in leased.jobs[part]:
                attempt = leased.store.claim(job.audit_id)
                if attempt is not None:
                    held[job.audit_id] = attempt
                    then(leased, job, attempt)

        def cancel(leased: LeasedJob = leased, barrier: Any = barrier) -> None:
            barrier.wait()
            cancel_scan(shared, leased.scan_id, "enough")

        with ThreadPoolExecutor(3) as pool:
            for one in [pool.submit(claim, slice(0, 2)), pool.submit(claim, slice(1, 3)), pool.submit(cancel)]:
                one.result()
        for row in leased.rows()["audits"]:
            if row["state"] == "running":
                assert then is _hold
                assert leased.leases.renew(row["id"], held[row["id"]], 60) == "cancelling"
                assert leased.leases.cancelled(row["id"], held[row["id"]])
            else:
                assert row["state"] == "cancelled"
        assert leased.scan == ("interrupted", 0)
        assert {row["state"] for row in leased.rows()["audits"]} == {"cancelled"}


def test_scans_as_people_ask_about_them(shared: Engine) -> None:
    leased = LeasedJob(shared, 4)
    done, failed, given, _ = (job.audit_id for job in leased.jobs)
    leased.store.finish(done, leased.store.claim(done), record())
    leased.store.fail(failed, leased.store.claim(failed), "a reason")
    leased.store.claim(given, "host:1")
    (row,) = [row for row in list_scans(shared) if row.scan == leased.scan_id]
    numbers = {name: getattr(row, name) for name in ("queued", "running", "done", "failed", "cancelled", "reused")}
    assert numbers == {"queued": 1, "running": 1, "done": 1, "failed": 1, "cancelled": 0, "reused": 0}
    assert (row.state, row.queue, row.finished_at) == ("running", leased.queue, None)
    cancel_scan(shared, leased.scan_id, "enough")
    shown = load_scan(shared, leased.scan_id)
    assert [audit.state for audit in shown.audits] == ["done", "failed", "cancelling", "cancelled"]
    assert [audit.reason for audit in shown.audits] == [None, "a reason", "enough", "enough"]
    for ask in (load_scan, lambda *a: cancel_scan(*a, "x"), lambda *a: retry_scan(*a, "cpu", None)):
        with pytest.raises(UsageError, match=r"there is no scan 987654; see `auditor scans list`"):
            ask(shared, 987654)


def test_a_scan_made_before_jobs_kept_their_entries_is_not_retried(shared: Engine) -> None:
    leased = LeasedJob(shared)
    leased.store.fail(leased.audit_id, leased.store.claim(leased.audit_id), "a reason")
    with shared.begin() as connection:  # as the migration leaves older rows
        connection.execute(text(f"UPDATE audits SET entry = NULL WHERE id = {leased.audit_id}"))
    before = leased.rows()
    with pytest.raises(UsageError, match="older auditor"):
        retry_scan(shared, leased.scan_id, "cpu", None)
    assert leased.rows() == before
    assert leased.store.load_job(leased.audit_id) is None


def test_a_message_that_is_older_than_a_jobs_queue_claims_nothing(shared: Engine) -> None:
    leased = LeasedJob(shared, queue="here")
    assert leased.store.claim(leased.audit_id, "w", queue="cpu") is None
    assert leased.store.claim(leased.audit_id, "w", queue="here") == 1


def test_an_entry_of_another_version_is_said(shared: Engine) -> None:
    leased = LeasedJob(shared)
    with Session(shared) as session, session.begin():
        session.get_one(tables.Audit, leased.audit_id).entry = {"model": "x"}
    with pytest.raises(UsageError, match="written by another version of auditor") as caught:
        leased.store.load_job(leased.audit_id)
    assert len(str(caught.value).splitlines()) == 1


def test_what_has_just_ended_is_the_latest_whatever_clocks_say(shared: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(shared), entry(f"clock-{uuid.uuid4().hex}")
    ids = []
    for hour in (12, 11, 10):  # a clock that is set back again and again
        monkeypatch.setattr("auditor.db.ending.now", lambda hour=hour: datetime(2026, 3, 1, hour, tzinfo=UTC))
        _, (job,) = store.create_scan("demo", REQUEST, [one])
        assert store.finish(job.audit_id, store.claim(job.audit_id), record(one.model.removeprefix("demo:")))
        ids.append(job.audit_id)
    with Session(shared) as session:
        rows = [session.get_one(tables.Audit, number) for number in ids]
        assert [row.latest for row in rows] == [row.latest_done for row in rows] == [False, False, True]
        assert rows[0].confirmed_at < rows[1].confirmed_at < rows[2].confirmed_at
