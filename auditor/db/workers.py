"""The worker processes, with the time of their last heartbeat."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import iso, upsert
from auditor.db.completion import now
from auditor.db.session import single
from auditor.records.workers import WorkerRow


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


def list_workers(engine: Engine) -> list[WorkerRow]:
    """Each worker with its current job."""
    worker, audit, link = tables.Worker, tables.Audit, tables.ScanAudit
    query = select(worker, audit, tables.Model.name, link.scan_id)
    query = query.outerjoin(audit, audit.id == worker.audit_id)
    query = query.outerjoin(tables.Model, tables.Model.id == audit.model_id)
    query = query.outerjoin(link, (link.audit_id == audit.id) & ~link.reused).order_by(worker.queue, worker.name)
    at = now()
    with Session(engine) as session:
        return [
            WorkerRow(
                worker=one.name,
                queue=one.queue,
                device=one.device,
                audit=one.audit_id,
                training=one.training_id,
                scan=scan_id,
                model=model,
                protocol=job.protocol if job else None,
                attempt=job.attempt if job else None,
                part=one.part,
                part_done=one.part_done,
                part_total=one.part_total,
                audit_started_at=iso(job.started_at) if job else None,
                started_at=iso(one.started_at),
                seen_at=iso(one.seen_at),
                seconds_silent=max(0.0, round((at - one.seen_at).total_seconds(), 1)),
            )
            for one, job, model, scan_id in session.execute(query)
        ]
