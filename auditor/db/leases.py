"""Leases of jobs: claim, renew, give back, expire and cancel; also the saved progress of a job."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, Select, case, delete, func, select, true, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import increment, upsert
from auditor.db.ending import count_ended, end_audit, now
from auditor.db.retry import with_retries
from auditor.db.session import single
from auditor.records import LOCAL_QUEUE

MOST_LOSSES = 3
"""A job that lost its process this often without progress is not retried, because it may be what kills them."""

LEASES_EXPIRED = "leases_expired"
"""The counter of audits whose lease has expired."""


@dataclass(frozen=True)
class Lease:
    """The lease of a running job; ``until`` changes with each renewal. ``started_at``: when it was claimed."""

    job_id: int
    attempt: int
    until: datetime | None
    worker: str | None
    seconds: float | None = None
    started_at: datetime | None = None


@dataclass(frozen=True)
class Unsent:
    """A queued job whose message may be lost: an audit or a training; ``seconds`` is its time limit.

    ``sent_at``: when its message was sent last, if the database knows that.
    """

    job_id: int
    seconds: float
    kind: Literal["audit", "training"] = "audit"
    sent_at: datetime | None = field(default=None, compare=False)


class Leases:
    """Leases of audits. Each method is one short transaction; ``patience`` as in the store.

    A subclass for other jobs sets ``kind`` and ``table``, and overrides ``_end``.
    """

    kind: Literal["audit", "training"] = "audit"
    table: type[tables.Audit] | type[tables.Training] = tables.Audit

    def __init__(self, engine: Engine, patience: float = 0) -> None:
        self.engine = engine
        self.patience = patience

    @with_retries
    def claim(self, job_id: int, worker: str | None = None, lease: float = 60, queue: str | None = None) -> int | None:
        """Take a queued job for ``lease`` seconds: its attempt number, or None if another process has it.

        ``queue``: claim only if the job is in this queue now, because the message may be outdated.
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

    @with_retries
    def give_back(self, job_id: int, attempt: int) -> bool:
        """Put a job back into the queue because this process must stop; this counts as no loss."""
        with Session(self.engine) as session, session.begin():
            return self._put_back(session, job_id, attempt, lost=0)

    @with_retries
    def cancelled(self, job_id: int, attempt: int) -> bool:
        """End a job that is being cancelled; call this once its process has ended."""
        with Session(self.engine) as session, session.begin():
            reason = session.scalar(select(self.table.cancelling).where(self.table.id == job_id))
            return self._end(session, job_id, attempt, state="cancelled", reason=reason or "cancelled")

    def expire(self, lease: Lease) -> str | None:
        """Put back a job whose lease has expired; returns its new state, or None if another process was faster."""
        with Session(self.engine) as session, session.begin():
            job: Any = self.table
            same = (job.id == lease.job_id, job.attempt == lease.attempt, job.lease_until == lease.until)
            query = select(job).where(*same, job.state == "running").with_for_update()
            one = session.scalars(query).first()
            if one is None:
                return None
            state = self._after_loss(session, one)
            if state is not None and self.kind == "audit":  # not before: on SQLite no lock keeps another reaper out
                increment(session, tables.Counter, LEASES_EXPIRED)
            return state

    def _after_loss(self, session: Session, one: Any) -> str | None:
        """End a job whose process was lost, or put it back; returns as :meth:`expire`."""
        losses, holder = one.losses + 1, one.worker or "its process"
        silent = f"{holder} gave no sign of life for the length of its lease"
        if one.cancelling is not None:
            state, reason = "cancelled", f"{one.cancelling}; {silent}"
        elif one.queue == LOCAL_QUEUE:  # no worker runs it
            state, reason = "cancelled", f"{silent}; it can be resumed"
        elif losses >= MOST_LOSSES:
            lost = f"{losses} processes that ran it were lost and it made no progress"
            state, reason = "failed", f"given up: {lost}, the last time {silent}"
        else:
            return "queued" if self._put_back(session, one.id, one.attempt, lost=1) else None
        return state if self._end(session, one.id, one.attempt, state=state, reason=reason) else None

    def running(self) -> list[Lease]:
        """The leases of all jobs that workers run."""
        job = self.table
        columns = (job.id, job.attempt, job.lease_until, job.worker, job.lease_seconds, job.started_at)
        with single(self.engine) as session:
            found = session.execute(select(*columns).where(job.state == "running", job.queue != LOCAL_QUEUE))
            return [Lease(*row) for row in found]

    def count_queued(self, queue: str) -> int:
        """How many jobs wait for this queue's workers."""
        with single(self.engine) as session:
            return session.scalar(select(func.count()).where(*self._queued(queue))) or 0

    def longest_unsent(self, queue: str, number: int) -> list[Unsent]:
        """The queued jobs whose message was never sent, or longest ago: the likeliest to have lost it."""
        audit, link, scan = tables.Audit, tables.ScanAudit, tables.Scan
        query = (
            select(audit.id, scan.request, audit.sent_at)
            .join(link, (link.audit_id == audit.id) & ~link.reused)
            .join(scan)
        )
        query = query.where(*self._queued(queue)).order_by(audit.sent_at.is_not(None), audit.sent_at, audit.id)
        with Session(self.engine) as session:
            found = session.execute(query.limit(number))
            return [Unsent(row[0], row[1]["seconds"], sent_at=row[2]) for row in found]

    def mark_sent(self, job_ids: list[int]) -> None:
        with Session(self.engine) as session, session.begin():
            for start in range(0, len(job_ids), 1000):
                job = self.table  # locked rows are being claimed; waiting for them could deadlock
                some = select(job.id).where(job.id.in_(job_ids[start : start + 1000]), job.state == "queued")
                free = some.with_for_update(skip_locked=True)
                session.execute(update(job).where(job.id.in_(free)).values(sent_at=now()))

    def save_progress(self, audit_id: int, attempt: int, key: str, state: bytes, *, further: bool = True) -> None:
        """Store the progress of a job, if this attempt is the current one.

        ``further``: the job has never come this far, so it did not cause the earlier losses: they are reset.
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

    @with_retries
    def load_progress(self, audit_id: int, key: str) -> bytes | None:
        """The state that an earlier attempt saved; None if there is none under this key."""
        progress = tables.AttackProgress
        with single(self.engine) as session:
            return session.scalar(select(progress.state).where(progress.audit_id == audit_id, progress.key == key))

    @with_retries
    def has_progress(self, audit_id: int) -> bool:
        """Whether an earlier attempt saved progress under any key."""
        progress = tables.AttackProgress
        with single(self.engine) as session:
            return session.scalar(select(progress.audit_id).where(progress.audit_id == audit_id)) is not None

    def _end(self, session: Session, job_id: int, attempt: int, *, state: str, **values: Any) -> bool:
        return end_audit(session, job_id, attempt, state=state, **values)

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


def request_cancellation(session: Session, scan_id: int, reason: str) -> None:
    """Cancel a scan's queued audits, and request the running ones to stop."""
    audit = tables.Audit
    queued = (
        audit.state == "queued"
    )  # one statement, so that a job that is claimed or given back meanwhile is not missed
    changed = session.execute(
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
    ended = [audit_id for audit_id, state in changed if state == "cancelled"]
    if ended:
        over = _of_scan(scan_id).join(audit).where(audit.state == "cancelled")
        session.execute(delete(tables.AttackProgress).where(tables.AttackProgress.audit_id.in_(over)))
        count_ended(session, scan_id, len(ended))


def cancel_unfinished(session: Session, scan_id: int, reason: str) -> None:
    """Cancel all unfinished audits of a scan whose processes are gone."""
    audit = tables.Audit
    values = {"state": "cancelled", "reason": reason, "finished_at": now(), "lease_until": None, "cancelling": None}
    unfinished = audit.state.in_(("queued", "running"))
    ended = session.scalars(
        update(audit).where(audit.id.in_(_of_scan(scan_id)), unfinished).values(values).returning(audit.id)
    ).all()
    session.execute(delete(tables.AttackProgress).where(tables.AttackProgress.audit_id.in_(_of_scan(scan_id))))
    if ended:
        count_ended(session, scan_id, len(ended))


def _of_scan(scan_id: int) -> Select[int]:
    return select(tables.ScanAudit.audit_id).where(tables.ScanAudit.scan_id == scan_id, ~tables.ScanAudit.reused)
