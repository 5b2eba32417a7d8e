"""Lists, loads, cancels and retries scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, load_only

from auditor import tracing
from auditor.db import models as tables
from auditor.db.base import iso
from auditor.db.ending import now
from auditor.db.latest import mark_latest
from auditor.db.leases import request_cancellation
from auditor.db.store import Job
from auditor.db.workers import job_silent_since, last_renewal, served_queues, silent_since
from auditor.errors import ConflictError, NotFoundError, UsageError
from auditor.records import LOCAL_QUEUE
from auditor.records.entries import entry_from
from auditor.records.scans import ScanAudit, ScanDetail, ScanRow, ScanSettings, ScanSubject

_OF_AUDIT = ("state", "cancelling", "attempt", "losses", "worker", "lease_until", "lease_seconds", "reason",
             "started_at", "finished_at")  # fmt: skip
"""The columns of an audit that a list of a scan's audits shows."""
STATES = ("queued", "running", "done", "failed", "cancelled")


@dataclass(frozen=True)
class LocalScan:
    """A running scan outside the queue, with the last heartbeat of its process."""

    scan_id: int
    worker: str | None
    seen_at: datetime


@dataclass(frozen=True)
class _Summary:
    """The audits of scans.

    ``counts``: by scan, state and whether they were reused. ``seconds``: the mean duration of a scan's done audits.
    ``running``: the running audits of a scan. ``served``: the queues that have workers.
    """

    counts: dict[tuple[int, str, bool], int]
    seconds: dict[int, float]
    running: dict[int, list[tables.Audit]]
    served: frozenset[str]


def list_scans(
    engine: Engine,
    *,
    state: str | None = None,
    source: str | None = None,
    limit: int | None = None,
    before: int | None = None,
) -> list[ScanRow]:
    """Scans, the newest first, each with the number of its audits by state; ``before``: only older ones than this."""
    scan = tables.Scan
    query = select(scan).order_by(scan.id.desc()).limit(limit)
    if state is not None:
        query = query.where(scan.state == state)
    if source is not None:
        query = query.where(scan.source == source)
    if before is not None:
        query = query.where(scan.id < before)
    with Session(engine) as session:
        scans = list(session.scalars(query))
        summary = _summarize(session, scans)
        return [ScanRow(**_fields(one, summary)) for one in scans]


def load_scan(engine: Engine, scan_id: int) -> ScanDetail:
    """One scan with its audits.

    Raises:
        NotFoundError: the scan does not exist.
    """
    audit, link, worker = tables.Audit, tables.ScanAudit, tables.Worker
    columns = (audit.id, tables.Model.name, link.reused, *(getattr(audit, name) for name in _OF_AUDIT))
    query = select(*columns, worker.part, worker.part_done, worker.part_total).join(link, link.audit_id == audit.id)
    query = query.join(tables.Model, tables.Model.id == audit.model_id)
    query = query.outerjoin(worker, (worker.audit_id == audit.id) & (worker.name == audit.worker))
    with Session(engine) as session:
        scan, at = _get(session, scan_id), now()
        found = session.execute(query.where(link.scan_id == scan_id).order_by(audit.id))
        audits = tuple(_audit(row, at) for row in found)
        return ScanDetail(**_fields(scan, _summarize(session, [scan])), audits=audits)


def find_scan(engine: Engine, audit_id: int) -> int | None:
    """The scan that made an audit; None if it was deleted."""
    link = tables.ScanAudit
    with Session(engine) as session:
        return session.scalar(select(link.scan_id).where(link.audit_id == audit_id, ~link.reused).limit(1))


def load_request(engine: Engine, scan_id: int) -> dict[str, Any]:
    """The request of a scan.

    Raises:
        NotFoundError: the scan does not exist.
    """
    with Session(engine) as session:
        return _get(session, scan_id).request


def load_settings(engine: Engine, scan_id: int) -> ScanSettings:
    """The request of a scan, with the data sets and norm balls of its audits, the most frequent first.

    Raises:
        NotFoundError: the scan does not exist.
    """
    audit, link = tables.Audit, tables.ScanAudit
    columns = (audit.dataset, audit.norm, audit.eps)
    query = select(*columns, func.count()).join(link, link.audit_id == audit.id).where(link.scan_id == scan_id)
    query = query.group_by(*columns).order_by(func.count().desc(), *columns)
    with Session(engine) as session:
        scan = _get(session, scan_id)
        subjects = tuple(ScanSubject(*row) for row in session.execute(query))
        return ScanSettings(scan.source, scan.request, subjects)


def newest_request(engine: Engine, audit_id: int) -> dict[str, Any]:
    """The request of the newest scan of an audit, as it is stored; empty without a scan."""
    link = tables.ScanAudit
    query = select(tables.Scan.request).join(link, link.scan_id == tables.Scan.id)
    with Session(engine) as session:
        request = session.scalar(query.where(link.audit_id == audit_id).order_by(tables.Scan.id.desc()).limit(1))
    return dict(request or {})


def cancel_scan(engine: Engine, scan_id: int, reason: str) -> None:
    """Cancel queued audits, and ask running ones to stop: they are ``cancelled`` once their process has ended.

    Raises:
        NotFoundError: the scan does not exist.
    """
    with Session(engine) as session, session.begin():
        _get(session, scan_id)
        request_cancellation(session, scan_id, reason)


def retry_scan(engine: Engine, scan_id: int, queue: str, worker: str | None) -> list[Job]:
    """Put a scan's failed and cancelled audits back into the queue, and return them.

    Raises:
        NotFoundError: the scan does not exist.
        ConflictError: it is still running in another process.
        UsageError: an older auditor stored it without the zoo entries.
    """
    audit, link = tables.Audit, tables.ScanAudit
    query = select(audit).join(link, link.audit_id == audit.id).order_by(audit.id)
    query = query.where(link.scan_id == scan_id, ~link.reused, audit.state.in_(("failed", "cancelled")))
    with Session(engine) as session, session.begin():
        scan = _get(session, scan_id, lock=True)
        if scan.state == "running" and LOCAL_QUEUE in (scan.queue, queue):
            raise ConflictError(
                f"scan {scan_id} is still running; wait until it ends, or run `auditor scans cancel {scan_id}` first"
            )
        models = select(tables.Model.id).where(
            tables.Model.id.in_(query.with_only_columns(audit.model_id).order_by(None))
        )
        session.execute(
            models.order_by(tables.Model.name).with_for_update(key_share=True)
        )  # the same order as in mark_latest, against deadlocks
        ended = list(session.scalars(query.with_for_update(of=audit)))
        if any(one.entry is None for one in ended):
            raise UsageError(f"scan {scan_id} was stored by an older auditor without its zoo entries: scan again")
        for one in ended:
            failed = one.state == "failed"
            one.state, one.queue, one.losses, one.reason, one.sent_at = "queued", queue, 0, None, None
            one.started_at = one.finished_at = one.cancelling = one.worker = None
            session.flush()
            if failed:
                mark_latest(session, one.id)
        if ended:
            scan.state, scan.finished_at, scan.pending = "running", None, scan.pending + len(ended)
            scan.queue, scan.worker, scan.request = queue, worker, scan.request | tracing.carrier()
        return [Job(one.id, scan_id, entry_from(one.entry or {}), scan.request) for one in ended]


def list_local_scans(engine: Engine) -> list[LocalScan]:
    """The running scans that do not use the workers' queue."""
    scan, worker = tables.Scan, tables.Worker
    query = select(scan.id, scan.worker, func.coalesce(worker.seen_at, scan.started_at, type_=scan.started_at.type))
    query = query.outerjoin(worker, worker.name == scan.worker)
    with Session(engine) as session:
        found = session.execute(query.where(scan.state == "running", scan.queue == LOCAL_QUEUE))
        return [LocalScan(*row) for row in found]


def _get(session: Session, scan_id: int, *, lock: bool = False) -> tables.Scan:
    scan = session.get(tables.Scan, scan_id, with_for_update=lock or None)
    if scan is None:
        raise NotFoundError(f"there is no scan {scan_id}; see `auditor scans list`")
    return scan


def _summarize(session: Session, scans: Sequence[tables.Scan]) -> _Summary:
    audit, link = tables.Audit, tables.ScanAudit
    query = select(link.scan_id, audit.state, link.reused, func.count(), func.avg(audit.seconds))
    query = query.join(audit, audit.id == link.audit_id).where(link.scan_id.in_([scan.id for scan in scans]))
    found = session.execute(query.group_by(link.scan_id, audit.state, link.reused)).all()
    counts = {(scan_id, state, reused): number for scan_id, state, reused, number, _ in found}
    seconds = {row[0]: row[4] for row in found if (row[1], row[2]) == ("done", False) and row[4] is not None}
    running: dict[int, list[tables.Audit]] = {}
    if unfinished := [scan.id for scan in scans if scan.state == "running"]:
        of_scans = select(link.scan_id, audit).join(audit, audit.id == link.audit_id)
        of_scans = of_scans.where(link.scan_id.in_(unfinished), ~link.reused, audit.state == "running")
        of_scans = of_scans.options(load_only(*(getattr(audit, name) for name in _OF_AUDIT)))
        for scan_id, one in session.execute(of_scans):
            running.setdefault(scan_id, []).append(one)
    return _Summary(counts, seconds, running, served_queues(session) if unfinished else frozenset())


def _fields(scan: tables.Scan, summary: _Summary) -> dict[str, Any]:
    """The fields of a ScanRow."""
    at, running = now(), summary.running.get(scan.id, [])
    numbers = {state: summary.counts.get((scan.id, state, False), 0) for state in STATES}
    renewals = [renewed for one in running if (renewed := last_renewal(one)) is not None]
    return {
        "scan": scan.id,
        "source": scan.source,
        "state": scan.state,
        "queue": scan.queue,
        "protocol": scan.request.get("protocol"),
        "device": scan.request.get("device", "cpu"),
        **numbers,
        "reused": sum(number for (one, _, reused), number in summary.counts.items() if one == scan.id and reused),
        "worker": scan.worker,
        "silent_since": silent_since(min(renewals, default=None), at),
        "unserved": numbers["queued"] > 0 and scan.queue not in {*summary.served, LOCAL_QUEUE},
        "started_at": iso(scan.started_at),
        "finished_at": iso(scan.finished_at),
        "seconds": round(((scan.finished_at or at) - scan.started_at).total_seconds(), 1),
        "seconds_left": _seconds_left(scan, summary, at) if scan.state == "running" else None,
    }


def _seconds_left(scan: tables.Scan, summary: _Summary, at: datetime) -> float | None:
    """Estimate when a scan ends, if each audit takes as long as the mean of its done ones, and as many run at once as
    do now. None without a done audit, or without a running one that shows signs of life.
    """
    each, running = summary.seconds.get(scan.id), summary.running.get(scan.id, ())
    elapsed = [
        (at - one.started_at).total_seconds() for one in running if one.started_at and not job_silent_since(one, at)
    ]
    if each is None or not elapsed:
        return None
    rest = sum(max(0.0, each - seconds) for seconds in elapsed)
    return round((summary.counts.get((scan.id, "queued", False), 0) * each + rest) / len(elapsed), 1)


def _audit(row: Any, at: datetime) -> ScanAudit:
    """One row of the query in :func:`load_scan`."""
    return ScanAudit(
        audit=row.id,
        model=row.name,
        state="cancelling" if row.state == "running" and row.cancelling else row.state,
        reused=row.reused,
        attempt=row.attempt,
        losses=row.losses,
        worker=row.worker,
        silent_since=job_silent_since(row, at),
        part=row.part,
        part_done=row.part_done,
        part_total=row.part_total,
        reason=row.reason or row.cancelling,
        started_at=iso(row.started_at),
        finished_at=iso(row.finished_at),
    )
