"""The worker processes with the time of their last heartbeat, and the queues that they serve.

A heartbeat is expected every two seconds. Times are compared by the clocks of the machines, so the only conclusion is
what was last seen; leases decide whether a process is lost (:mod:`auditor.jobs.expiry_watch`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import iso, upsert
from auditor.db.ending import now
from auditor.db.metrics import count_unfinished
from auditor.db.session import single
from auditor.records import LOCAL_QUEUE
from auditor.records.workers import QueueRow, WorkerRow

SILENT_AFTER = timedelta(seconds=10)
"""A process without a sign of life for longer than this is shown as silent: it has missed five heartbeats."""


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One heartbeat of a worker: its name, its queue and device, its job and how far it is."""

    name: str
    queue: str
    device: str
    started_at: datetime
    audit_id: int | None = None
    training_id: int | None = None
    part: str | None = None
    part_done: int | None = None
    part_total: int | None = None


def report_worker(engine: Engine, status: WorkerStatus) -> None:
    values = {**status.__dict__, "seen_at": now()}
    with single(engine) as session:
        upsert(session, tables.Worker, "name", values)


def remove_worker(engine: Engine, name: str) -> None:
    """Remove a process that has ended."""
    with single(engine) as session:
        session.execute(delete(tables.Worker).where(tables.Worker.name == name))


def last_renewal(job: tables.Leased) -> datetime | None:
    """When a job's process last renewed its lease; None if the job has no lease."""
    if job.lease_until is None or job.lease_seconds is None:
        return None
    return job.lease_until - timedelta(seconds=job.lease_seconds)


def silent_since(seen_at: datetime | None, at: datetime) -> str | None:
    """The time of a sign of life if it is longer ago than expected, else None."""
    return iso(seen_at) if seen_at is not None and at - seen_at > SILENT_AFTER else None


def job_silent_since(job: tables.Leased, at: datetime) -> str | None:
    """The last renewal of a running job's lease if it is longer ago than expected, else None."""
    return silent_since(last_renewal(job), at) if job.state == "running" else None


def served_queues(session: Session) -> frozenset[str]:
    """The queues of workers with a recent heartbeat."""
    worker = tables.Worker
    return frozenset(session.scalars(select(worker.queue).where(worker.seen_at >= now() - SILENT_AFTER).distinct()))


def list_workers(engine: Engine) -> list[WorkerRow]:
    """Each worker with its current job."""
    worker, audit, link, training = tables.Worker, tables.Audit, tables.ScanAudit, tables.Training
    query = select(worker, audit, tables.Model.name, link.scan_id, training)
    query = query.outerjoin(audit, audit.id == worker.audit_id)
    query = query.outerjoin(tables.Model, tables.Model.id == audit.model_id)
    query = query.outerjoin(link, (link.audit_id == audit.id) & ~link.reused)
    query = query.outerjoin(training, training.id == worker.training_id).order_by(worker.queue, worker.name)
    at = now()
    with Session(engine) as session:
        return [
            WorkerRow(
                worker=one.name,
                host=one.name.rpartition(":")[0],
                queue=one.queue,
                device=one.device,
                kind="audit" if measured else job.kind if job else None,  # type: ignore[arg-type]
                audit=one.audit_id,
                training=one.training_id,
                scan=scan_id,
                model=job.model if job else model,
                protocol=measured.protocol if measured else None,
                attempt=measured.attempt if measured else job.attempt if job else None,
                part=one.part,
                part_done=one.part_done,
                part_total=one.part_total,
                audit_started_at=iso(measured.started_at) if measured else None,
                job_started_at=iso(measured.started_at) if measured else iso(job.started_at) if job else None,
                started_at=iso(one.started_at),
                seen_at=iso(one.seen_at),
                seconds_silent=max(0.0, round((at - one.seen_at).total_seconds(), 1)),
                silent_since=silent_since(one.seen_at, at),
            )
            for one, measured, model, scan_id, job in session.execute(query)
        ]


def list_queues(engine: Engine) -> list[QueueRow]:
    """The workers' queues that have workers or unfinished jobs, by name."""
    worker = tables.Worker
    with Session(engine) as session:
        unfinished = [one for table in (tables.Audit, tables.Training) for one in count_unfinished(session, table)]
        workers = session.execute(select(worker.queue, worker.name, worker.seen_at).order_by(worker.name)).all()
    at = now()
    queues = []
    for queue in sorted({*(one.queue for one in unfinished), *(one.queue for one in workers)} - {LOCAL_QUEUE}):
        waiting, running = ([one for one in unfinished if (one.queue, one.state) == (queue, state)]
                            for state in ("queued", "running"))  # fmt: skip
        names = tuple(one.name for one in workers if one.queue == queue and at - one.seen_at <= SILENT_AFTER)
        row = QueueRow(
            queue=queue,
            queued=sum(one.number for one in waiting),
            running=sum(one.number for one in running),
            oldest_seconds=max((round(one.oldest, 1) for one in waiting), default=None),
            workers=names,
            unserved=bool(waiting) and not names,
        )
        queues.append(row)
    return queues
