"""Who has which job: leases renewed, given back, run out; cancelling, and what was saved of a job on its way."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, Select, case, delete, func, select, true, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import upsert
from auditor.db.ending import count_down, end, now
from auditor.db.patience import patient
from auditor.db.session import single
from auditor.records import LOCAL_QUEUE

MOST_LOSSES = 3
"""A job whose process was lost this often without any progress in between is not tried again: it may kill them."""


@dataclass(frozen=True)
class Lease:
    """A running job as somebody who watches it sees it: ``until`` changes whenever it is renewed."""

    job_id: int
    attempt: int
    until: datetime | None
    worker: str | None
    seconds: float | None = None


@dataclass(frozen=True)
class Unsent:
    """A queued job whose message may be lost: an audit, or a training; ``seconds`` is its limit of time."""

    job_id: int
    seconds: float
    kind: Literal["audit", "training"] = "audit"


class Leases:
    """Leases of audits, each method one short transaction; ``patience`` as in the store.

    Of other jobs' leases ``table`` is another, as is what their end means.
    """

    kind: Literal["audit", "training"] = "audit"
    table: type[tables.Audit] | type[tables.Training] = tables.Audit

    def __init__(self, engine: Engine, patience: float = 0) -> None:
        self.engine = engine
        self.patience = patience

    @patient
    def claim(self, job_id: int, worker: str | None = None, lease: float = 60, queue: str | None = None) -> int | None:
        """Take a queued job for ``lease`` seconds: its attempt number, or None where somebody else has it.

        ``queue``: only if it is in this one now; a message may be older than that.
        """
        job, at = self.table, now()
        right = job.queue == queue if queue is not None else true()
        claimed = (
            update(job)
            .where(job.id == job_id, job.state == "queued", right)
            .values(
                state="running",
                attempt=job.attempt + 1,
                worker=worker,
                lease_until=at + timedelta(seconds=lease),
                lease_seconds=lease,
                started_at=at,
            )
            .returning(job.attempt)
            .execution_options(synchronize_session=False)
        )
        with single(self.engine) as session:
            return session.scalar(claimed)

    def renew(self, job_id: int, attempt: int, lease: float) -> Literal["active", "cancelling", "lost"]:
        """Renew a job's lease; returns whether this attempt still has the job, and whether it was cancelled."""
        job = self.table
        renewed = (
            update(job)
            .where(job.id == job_id, job.attempt == attempt, job.state == "running")
            .values(lease_until=now() + timedelta(seconds=lease))
            .returning(job.cancelling)
            .execution_options(synchronize_session=False)
        )
        with single(self.engine) as session:
            row = session.execute(renewed).first()
        return "lost" if row is None else "active" if row[0] is None else "cancelling"

    @patient
    def give_back(self, job_id: int, attempt: int) -> bool:
        """Put a job back that this process has to leave, at no cost to the job."""
        with Session(self.engine) as session, session.begin():
            return self._put_back(session, job_id, attempt, lost=0)

    @patient
    def cancelled(self, job_id: int, attempt: int) -> bool:
        """End a job that was to be cancelled; to be called when its process is gone."""
        with Session(self.engine) as session, session.begin():
            reason = session.scalar(select(self.table.cancelling).where(self.table.id == job_id))
            return self._end(session, job_id, attempt, state="cancelled", reason=reason or "cancelled")

    def expire(self, lease: Lease) -> str | None:
        """Put back a job whose lease has run out; the state it is in then, None where somebody was faster."""
        with Session(self.engine) as session, session.begin():
            job: Any = self.table
            same = (job.id == lease.job_id, job.attempt == lease.attempt, job.lease_until == lease.until)
            query = select(job).where(*same, job.state == "running").with_for_update()
            one = session.scalars(query).first()
            if one is None:
                return None
            losses, who = one.losses + 1, one.worker or "its process"
            silent = f"{who} gave no sign of life for the length of its lease"
            if one.cancelling is not None:
                reason = f"{one.cancelling}; {silent}"
                return (
                    "cancelled" if self._end(session, one.id, one.attempt, state="cancelled", reason=reason) else None
                )
            if one.queue == LOCAL_QUEUE:  # nobody else runs it
                reason = f"{silent}; it can be gone on with"
                return (
                    "cancelled" if self._end(session, one.id, one.attempt, state="cancelled", reason=reason) else None
                )
            if losses >= MOST_LOSSES:
                lost = f"{losses} processes that ran it were lost and it made no progress"
                reason = f"given up: {lost}, the last time {silent}"
                return "failed" if self._end(session, one.id, one.attempt, state="failed", reason=reason) else None
            return "queued" if self._put_back(session, one.id, one.attempt, lost=1) else None

    def running(self) -> list[Lease]:
        """The leases of all jobs that workers run."""
        job = self.table
        columns = (job.id, job.attempt, job.lease_until, job.worker, job.lease_seconds)
        with single(self.engine) as session:
            found = session.execute(select(*columns).where(job.state == "running", job.queue != LOCAL_QUEUE))
            return [Lease(*row) for row in found]

    def count_queued(self, queue: str) -> int:
        """How many jobs wait for this queue's workers."""
        with single(self.engine) as session:
            return session.scalar(select(func.count()).where(*self._queued(queue))) or 0

    def longest_unsent(self, queue: str, number: int) -> list[Unsent]:
        """The jobs whose message was sent first, or never: of those that wait, they are the likeliest to have none."""
        audit, link, scan = tables.Audit, tables.ScanAudit, tables.Scan
        query = select(audit.id, scan.request).join(link, (link.audit_id == audit.id) & ~link.reused).join(scan)
        query = query.where(*self._queued(queue)).order_by(audit.sent_at.is_not(None), audit.sent_at, audit.id)
        with Session(self.engine) as session:
            return [Unsent(row[0], row[1]["seconds"]) for row in session.execute(query.limit(number))]

    def mark_sent(self, job_ids: list[int]) -> None:
        with Session(self.engine) as session, session.begin():
            for start in range(0, len(job_ids), 1000):
                job = self.table  # those that somebody holds are being claimed, and waiting for them could deadlock
                some = select(job.id).where(job.id.in_(job_ids[start : start + 1000]), job.state == "queued")
                free = some.with_for_update(skip_locked=True)
                session.execute(update(job).where(job.id.in_(free)).values(sent_at=now()))

    def save_progress(self, audit_id: int, attempt: int, key: str, state: bytes, *, further: bool = True) -> None:
        """Keep how far a job has come, while it is one's own.

        ``further``: it has never come so far, so the processes lost before were not lost to it, and count no longer.
        """
        progress, audit = tables.AttackProgress, tables.Audit
        values = {"audit_id": audit_id, "key": key, "state": state, "saved_at": now()}
        with Session(self.engine) as session, session.begin():
            mine = (audit.id == audit_id, audit.attempt == attempt, audit.state == "running")
            losses = session.scalar(select(audit.losses).where(*mine).with_for_update())
            if losses is None:
                return
            upsert(session, progress, "audit_id", values)
            if further and losses:
                session.execute(update(audit).where(*mine).values(losses=0))

    @patient
    def load_progress(self, audit_id: int, key: str) -> bytes | None:
        """What an earlier attempt saved; None where there is nothing, or it was saved under another key."""
        progress = tables.AttackProgress
        with single(self.engine) as session:
            return session.scalar(select(progress.state).where(progress.audit_id == audit_id, progress.key == key))

    @patient
    def has_progress(self, audit_id: int) -> bool:
        """Whether an earlier attempt saved anything, under whatever key."""
        progress = tables.AttackProgress
        with single(self.engine) as session:
            return session.scalar(select(progress.audit_id).where(progress.audit_id == audit_id)) is not None

    def _end(self, session: Session, job_id: int, attempt: int, *, state: str, **values: Any) -> bool:
        return end(session, job_id, attempt, state=state, **values)

    def _queued(self, queue: str) -> tuple[ColumnElement[bool], ...]:
        return (self.table.state == "queued", self.table.queue == queue)

    def _put_back(self, session: Session, job_id: int, attempt: int, *, lost: int) -> bool:
        job = self.table
        back = (
            update(job)
            .where(job.id == job_id, job.attempt == attempt, job.state == "running", job.cancelling.is_(None))
            .values({"state": "queued", "losses": job.losses + lost, "lease_until": None, "sent_at": None})
            .returning(job.id)
        )
        return session.execute(back).first() is not None


def ask_to_cancel(session: Session, scan_id: int, reason: str) -> None:
    """Cancel a scan's queued jobs, and ask the processes that run the others to stop."""
    audit = tables.Audit
    queued = audit.state == "queued"  # one statement: a job that is claimed, or given back, meanwhile is not missed
    asked = session.execute(
        update(audit)
        .where(audit.id.in_(_of_scan(scan_id)), audit.state.in_(("queued", "running")))
        .values(
            state=case((queued, "cancelled"), else_=audit.state),
            reason=case((queued, reason), else_=audit.reason),
            finished_at=case((queued, now()), else_=audit.finished_at),
            cancelling=case((queued, None), else_=reason),
        )
        .returning(audit.id, audit.state)
    ).all()
    ended = [audit_id for audit_id, state in asked if state == "cancelled"]
    if ended:
        over = _of_scan(scan_id).join(audit).where(audit.state == "cancelled")
        session.execute(delete(tables.AttackProgress).where(tables.AttackProgress.audit_id.in_(over)))
        count_down(session, scan_id, len(ended))


def cancel_all(session: Session, scan_id: int, reason: str) -> None:
    """Cancel all of a scan that has not ended; for one whose processes are gone."""
    audit = tables.Audit
    values = {"state": "cancelled", "reason": reason, "finished_at": now(), "lease_until": None, "cancelling": None}
    unfinished = audit.state.in_(("queued", "running"))
    ended = session.scalars(
        update(audit).where(audit.id.in_(_of_scan(scan_id)), unfinished).values(values).returning(audit.id)
    ).all()
    session.execute(delete(tables.AttackProgress).where(tables.AttackProgress.audit_id.in_(_of_scan(scan_id))))
    if ended:
        count_down(session, scan_id, len(ended))


def _of_scan(scan_id: int) -> Select[int]:
    return select(tables.ScanAudit.audit_id).where(tables.ScanAudit.scan_id == scan_id, ~tables.ScanAudit.reused)
