"""Leases: who has a job, and that nobody who has it no longer changes anything, on both databases."""

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
from auditor.db.leases import MOST_LOSSES, Lease, Leases, Unsent
from auditor.db.scans import cancel_scan, list_scans, load_scan, retry_scan, scans_here
from auditor.db.store import Job, Store
from auditor.errors import UsageError
from tests.db.test_store import REQUEST, entry, record

NAMES = itertools.count()


class Desk:
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


def finish_another(desk: Desk) -> int:
    other = Desk(desk.engine)
    assert other.store.finish(other.audit_id, other.store.claim(other.audit_id), record())
    return other.audit_id


# Each write of a job, and what it answers to somebody whose attempt is not the current one.
WRITES: dict[str, tuple[Callable[[Desk, int], object], object]] = {
    "finish": (lambda desk, attempt: desk.store.finish(desk.audit_id, attempt, record()), False),
    "fail": (lambda desk, attempt: desk.store.fail(desk.audit_id, attempt, "late"), False),
    "reuse": (
        lambda desk, attempt: desk.store.reuse(desk.scan_id, desk.audit_id, attempt, finish_another(desk)),
        False,
    ),
    "renew": (lambda desk, attempt: desk.leases.renew(desk.audit_id, attempt, 1000), "lost"),
    "give back": (lambda desk, attempt: desk.leases.give_back(desk.audit_id, attempt), False),
    "cancelled": (lambda desk, attempt: desk.leases.cancelled(desk.audit_id, attempt), False),
    "save": (lambda desk, attempt: desk.leases.save_progress(desk.audit_id, attempt, "k", b"late"), None),
    "expire": (
        lambda desk, attempt: desk.leases.expire(Lease(desk.audit_id, attempt, datetime.now(UTC), "somebody")),
        None,
    ),
}


def _given_back(desk: Desk, attempt: int) -> None:
    assert desk.leases.give_back(desk.audit_id, attempt)


def _expired(desk: Desk, _: int) -> None:
    assert desk.leases.expire(desk.lease()) == "queued"


def _claimed_again(desk: Desk, attempt: int) -> None:
    _expired(desk, attempt)
    assert desk.store.claim(desk.audit_id) == attempt + 1
    desk.leases.save_progress(desk.audit_id, attempt + 1, "k", b"of the newer one")


def _finished(desk: Desk, attempt: int) -> None:
    assert desk.store.finish(desk.audit_id, attempt, record())


def _failed(desk: Desk, attempt: int) -> None:
    assert desk.store.fail(desk.audit_id, attempt, "a reason")


def _retried(desk: Desk, attempt: int) -> None:
    _failed(desk, attempt)
    assert [job.audit_id for job in retry_scan(desk.engine, desk.scan_id, desk.queue, None)] == [desk.audit_id]


def _retried_and_claimed(desk: Desk, attempt: int) -> None:
    _retried(desk, attempt)
    assert desk.store.claim(desk.audit_id) == attempt + 1


def _cancelled(desk: Desk, _: int) -> None:
    desk.store.cancel(desk.scan_id, "interrupted")


def _asked_and_claimed_again(desk: Desk, attempt: int) -> None:
    _claimed_again(desk, attempt)
    cancel_scan(desk.engine, desk.scan_id, "enough")


FATES = [
    _given_back, _expired, _claimed_again, _finished, _failed, _retried, _retried_and_claimed, _cancelled,
    _asked_and_claimed_again,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__.strip("_"))
def test_who_has_lost_a_job_changes_nothing_of_it(shared: Engine, fate: Callable[..., None], write: str) -> None:
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id, "me")
    fate(desk, attempt)
    before = desk.rows()
    do, refused = WRITES[write]
    assert do(desk, attempt) == refused
    assert desk.rows() == before


@pytest.mark.parametrize("write", WRITES)
def test_who_has_it_does_change_it(shared: Engine, write: str) -> None:
    """The table above would hold of writes that do nothing at all."""
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id, "me")
    before = desk.rows()
    do, refused = WRITES[write]
    if write == "expire":
        assert desk.leases.expire(desk.lease()) == "queued"
    else:
        assert do(desk, attempt) != refused or write == "save"
    assert desk.rows() != before


def test_a_job_between_claim_and_end(shared: Engine) -> None:
    desk = Desk(shared)
    assert (desk.row["state"], desk.row["attempt"], desk.scan) == ("queued", 0, ("running", 1))
    assert desk.store.claim(desk.audit_id, "host:1", 60) == 1
    first = desk.lease()
    assert (first.job_id, first.attempt, first.worker) == (desk.audit_id, 1, "host:1")
    assert (first.until - desk.row["started_at"]).total_seconds() == pytest.approx(60)
    assert desk.leases.renew(desk.audit_id, 1, 100) == "held"
    assert desk.lease().until > first.until
    cancel_scan(shared, desk.scan_id, "enough")
    assert (desk.row["state"], desk.row["cancelling"], desk.scan) == ("running", "enough", ("running", 1))
    assert desk.leases.renew(desk.audit_id, 1, 100) == "cancelling"
    assert not desk.leases.give_back(desk.audit_id, 1)
    assert desk.leases.cancelled(desk.audit_id, 1)
    assert (desk.row["state"], desk.row["reason"], desk.row["cancelling"]) == ("cancelled", "enough", None)
    assert desk.scan == ("interrupted", 0)
    assert desk.leases.renew(desk.audit_id, 1, 100) == "lost"


def test_what_finishes_before_it_learns_that_it_is_cancelled_is_done(shared: Engine) -> None:
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id)
    cancel_scan(shared, desk.scan_id, "too late")
    assert desk.store.finish(desk.audit_id, attempt, record())
    assert (desk.row["state"], desk.row["cancelling"], desk.scan) == ("done", None, ("done", 0))


def test_giving_back_costs_nothing_and_being_lost_three_times_ends_it(shared: Engine) -> None:
    desk = Desk(shared)
    for _ in range(2 * MOST_LOSSES):
        assert desk.leases.give_back(desk.audit_id, desk.store.claim(desk.audit_id))
    assert (desk.row["state"], desk.row["losses"]) == ("queued", 0)
    for lost in range(1, MOST_LOSSES):
        desk.store.claim(desk.audit_id, f"host:{lost}")
        assert desk.leases.expire(desk.lease()) == "queued"
        assert (desk.row["losses"], desk.row["lease_until"], desk.row["sent_at"]) == (lost, None, None)
    desk.store.claim(desk.audit_id, "host:9")
    assert desk.leases.expire(desk.lease()) == "failed"
    assert desk.row["reason"] == (
        f"given up: {MOST_LOSSES} processes that ran it were lost and it made no progress, the last time host:9 gave "
        "no sign of life for the length of its lease"
    )
    assert desk.scan == ("done", 0)
    retry_scan(shared, desk.scan_id, desk.queue, None)
    assert (desk.row["state"], desk.row["losses"], desk.row["attempt"]) == ("queued", 0, 3 * MOST_LOSSES)


def test_a_job_that_was_to_be_cancelled_is_cancelled_when_its_process_is_lost(shared: Engine) -> None:
    desk = Desk(shared)
    desk.store.claim(desk.audit_id, "host:1")
    cancel_scan(shared, desk.scan_id, "enough")
    assert desk.leases.expire(desk.lease()) == "cancelled"
    assert desk.row["reason"] == "enough; host:1 gave no sign of life for the length of its lease"
    assert desk.scan == ("interrupted", 0)


def test_a_lease_renewed_since_it_was_seen_is_not_expired(shared: Engine) -> None:
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id)
    seen = desk.lease()
    desk.leases.renew(desk.audit_id, attempt, 60)
    assert desk.leases.expire(seen) is None
    assert (desk.row["state"], desk.row["losses"]) == ("running", 0)


def test_progress_is_kept_under_its_key_and_gone_with_the_end(shared: Engine) -> None:
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id)
    assert desk.leases.load_progress(desk.audit_id, "k") is None
    for state in (b"one", bytes(range(256)), b""):
        desk.leases.save_progress(desk.audit_id, attempt, "k", state)
        assert desk.leases.load_progress(desk.audit_id, "k") == state
    assert desk.leases.load_progress(desk.audit_id, "other") is None
    desk.leases.save_progress(desk.audit_id, attempt, "other", b"two")
    assert desk.leases.load_progress(desk.audit_id, "k") is None  # one a job, the newest
    desk.leases.give_back(desk.audit_id, attempt)
    attempt = desk.store.claim(desk.audit_id)
    assert desk.leases.load_progress(desk.audit_id, "other") == b"two"
    desk.store.finish(desk.audit_id, attempt, record())
    assert desk.leases.load_progress(desk.audit_id, "other") is None


ENDS: dict[str, Callable[[Desk, int], object]] = {
    "finish": lambda desk, attempt: desk.store.finish(desk.audit_id, attempt, record()),
    "fail": lambda desk, attempt: desk.store.fail(desk.audit_id, attempt, "a reason"),
    "reuse": lambda desk, attempt: desk.store.reuse(desk.scan_id, desk.audit_id, attempt, finish_another(desk)),
    "cancel all": lambda desk, _: desk.store.cancel(desk.scan_id, "gone"),
    "cancelled while it ran": lambda desk, attempt: (
        cancel_scan(desk.engine, desk.scan_id, "enough"),
        desk.leases.cancelled(desk.audit_id, attempt),
    ),
    "cancelled while it waited": lambda desk, attempt: (
        desk.leases.give_back(desk.audit_id, attempt),
        cancel_scan(desk.engine, desk.scan_id, "enough"),
    ),
    "given up": lambda desk, _: [
        (desk.leases.expire(desk.lease()), desk.store.claim(desk.audit_id)) for _ in range(MOST_LOSSES)
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_a_job_leaves_no_progress_behind(shared: Engine, end: str) -> None:
    desk = Desk(shared)
    attempt = desk.store.claim(desk.audit_id)
    desk.leases.save_progress(desk.audit_id, attempt, "k", b"hours of work")
    assert desk.rows()["attack_progress"] != []
    ENDS[end](desk, attempt)
    assert desk.rows()["attack_progress"] == []
    assert desk.scan[0] != "running"


def test_what_waits_and_what_was_sent_longest_ago(shared: Engine) -> None:
    desk = Desk(shared, 5)
    other = Desk(shared, 1)
    ids = [job.audit_id for job in desk.jobs]
    assert desk.leases.count_queued(desk.queue) == 5
    assert desk.leases.longest_unsent(desk.queue, 9) == [Unsent(one, 7) for one in ids]
    desk.leases.mark_sent(ids[:2])
    desk.leases.mark_sent(ids[3:4])
    desk.leases.mark_sent([])
    order = [one.job_id for one in desk.leases.longest_unsent(desk.queue, 9)]
    assert order == [ids[2], ids[4], ids[0], ids[1], ids[3]]
    assert [one.job_id for one in desk.leases.longest_unsent(desk.queue, 2)] == order[:2]
    attempt = desk.store.claim(ids[3])
    assert desk.leases.count_queued(desk.queue) == 4
    desk.leases.give_back(ids[3], attempt)  # its message is acknowledged by then
    assert [one.job_id for one in desk.leases.longest_unsent(desk.queue, 3)] == [ids[2], ids[3], ids[4]]
    assert other.leases.count_queued(other.queue) == 1
    assert other.leases.count_queued("no such queue") == 0


def test_more_are_marked_as_sent_than_one_statement_takes(shared: Engine) -> None:
    desk = Desk(shared, 2)
    desk.leases.mark_sent([*range(10**6, 10**6 + 2500), desk.jobs[1].audit_id])
    sent = [row["sent_at"] is not None for row in desk.rows()["audits"]]
    assert sent == [False, True]


def test_jobs_of_a_process_of_their_own_are_not_for_workers_to_expire(shared: Engine) -> None:
    desk = Desk(shared, queue="here")
    desk.store.claim(desk.audit_id)
    assert desk.audit_id not in [lease.job_id for lease in desk.leases.running()]
    assert desk.scan_id in [scan.scan_id for scan in scans_here(shared)]


def test_eight_claim_fifty_jobs_and_each_is_claimed_once(shared: Engine) -> None:
    desk = Desk(shared, 50)
    barrier = threading.Barrier(8)

    def claim(number: int) -> list[int]:
        barrier.wait()
        return [job.audit_id for job in desk.jobs if desk.store.claim(job.audit_id, f"host:{number}") is not None]

    with ThreadPoolExecutor(8) as pool:
        claimed = [one for some in pool.map(claim, range(8)) for one in some]
    assert sorted(claimed) == [job.audit_id for job in desk.jobs]
    assert {row["attempt"] for row in desk.rows()["audits"]} == {1}


def test_of_two_who_expire_one_does(shared: Engine) -> None:
    for _ in range(15):
        desk = Desk(shared)
        desk.store.claim(desk.audit_id)
        lease, barrier = desk.lease(), threading.Barrier(4)

        def expire(lease: Lease = lease, barrier: threading.Barrier = barrier) -> str | None:
            barrier.wait()
            return Leases(shared).expire(lease)

        with ThreadPoolExecutor(4) as pool:
            found = [one.result() for one in [pool.submit(expire) for _ in range(4)]]
        assert sorted(found, key=str) == [None, None, None, "queued"]
        assert desk.row["losses"] == 1


def _hold(desk: Desk, job: Job, attempt: int) -> None:
    """Keep it."""


def _return(desk: Desk, job: Job, attempt: int) -> None:
    """As a process does that is told to end."""
    assert desk.leases.give_back(job.audit_id, attempt) or desk.leases.cancelled(job.audit_id, attempt)


@pytest.mark.parametrize("then", [_hold, _return], ids=["kept", "given back"])
def test_no_job_slips_through_when_its_scan_is_cancelled_as_it_is_claimed(
    shared: Engine, then: Callable[[Desk, Job, int], None]
) -> None:
    for _ in range(25):
        desk = Desk(shared, 3)
        barrier, held = threading.Barrier(3), {}

        def claim(part: slice, desk: Desk = desk, barrier: Any = barrier, held: dict[int, int] = held) -> None:
            barrier.wait()
            for job in desk.jobs[part]:
                attempt = desk.store.claim(job.audit_id)
                if attempt is not None:
                    held[job.audit_id] = attempt
                    then(desk, job, attempt)

        def cancel(desk: Desk = desk, barrier: Any = barrier) -> None:
            barrier.wait()
            cancel_scan(shared, desk.scan_id, "enough")

        with ThreadPoolExecutor(3) as pool:
            for one in [pool.submit(claim, slice(0, 2)), pool.submit(claim, slice(1, 3)), pool.submit(cancel)]:
                one.result()
        for row in desk.rows()["audits"]:
            if row["state"] == "running":
                assert then is _hold
                assert desk.leases.renew(row["id"], held[row["id"]], 60) == "cancelling"
                assert desk.leases.cancelled(row["id"], held[row["id"]])
            else:
                assert row["state"] == "cancelled"
        assert desk.scan == ("interrupted", 0)
        assert {row["state"] for row in desk.rows()["audits"]} == {"cancelled"}


def test_scans_as_people_ask_about_them(shared: Engine) -> None:
    desk = Desk(shared, 4)
    done, failed, given, _ = (job.audit_id for job in desk.jobs)
    desk.store.finish(done, desk.store.claim(done), record())
    desk.store.fail(failed, desk.store.claim(failed), "a reason")
    desk.store.claim(given, "host:1")
    (row,) = [row for row in list_scans(shared) if row["scan"] == desk.scan_id]
    numbers = {name: row[name] for name in ("queued", "running", "done", "failed", "cancelled", "reused")}
    assert numbers == {"queued": 1, "running": 1, "done": 1, "failed": 1, "cancelled": 0, "reused": 0}
    assert (row["state"], row["queue"], row["finished_at"]) == ("running", desk.queue, None)
    cancel_scan(shared, desk.scan_id, "enough")
    shown = load_scan(shared, desk.scan_id)
    assert [audit["state"] for audit in shown["audits"]] == ["done", "failed", "cancelling", "cancelled"]
    assert [audit["reason"] for audit in shown["audits"]] == [None, "a reason", "enough", "enough"]
    for ask in (load_scan, lambda *a: cancel_scan(*a, "x"), lambda *a: retry_scan(*a, "cpu", None)):
        with pytest.raises(UsageError, match=r"there is no scan 987654; see `auditor scans list`"):
            ask(shared, 987654)


def test_a_scan_made_before_jobs_kept_their_entries_is_not_retried(shared: Engine) -> None:
    desk = Desk(shared)
    desk.store.fail(desk.audit_id, desk.store.claim(desk.audit_id), "a reason")
    with shared.begin() as connection:  # as the migration leaves older rows
        connection.execute(text(f"UPDATE audits SET entry = NULL WHERE id = {desk.audit_id}"))
    before = desk.rows()
    with pytest.raises(UsageError, match="older auditor"):
        retry_scan(shared, desk.scan_id, "cpu", None)
    assert desk.rows() == before
    assert desk.store.load_job(desk.audit_id) is None


def test_a_message_that_is_older_than_a_jobs_queue_claims_nothing(shared: Engine) -> None:
    desk = Desk(shared, queue="here")
    assert desk.store.claim(desk.audit_id, "w", queue="cpu") is None
    assert desk.store.claim(desk.audit_id, "w", queue="here") == 1


def test_an_entry_of_another_version_is_said(shared: Engine) -> None:
    desk = Desk(shared)
    with Session(shared) as session, session.begin():
        session.get_one(tables.Audit, desk.audit_id).entry = {"model": "x"}
    with pytest.raises(UsageError, match="written by another version of auditor") as caught:
        desk.store.load_job(desk.audit_id)
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
