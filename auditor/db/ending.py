"""Ends audits, and a scan with its last audit: every transition out of ``queued`` and ``running`` is made here."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ScalarSelect, delete, exists, select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.latest import SETTING, mark_series


def now() -> datetime:
    return datetime.now(UTC)


def end_audit(session: Session, audit_id: int, attempt: int, *, state: str, **values: Any) -> bool:
    """End a running audit; False if ``attempt`` is no longer its current one."""
    audit, at = tables.Audit, now()
    ended = session.execute(
        update(audit)
        .where(audit.id == audit_id, audit.attempt == attempt, audit.state == "running")
        .values(state=state, finished_at=at, confirmed_at=at, lease_until=None, cancelling=None, **values)
        .returning(*(getattr(audit, name) for name in SETTING))
        .execution_options(synchronize_session=False)  # finding the changed objects takes longer than the update
    )
    setting = ended.first()
    if setting is None:
        return False
    session.execute(
        delete(tables.AttackProgress)
        .where(tables.AttackProgress.audit_id == audit_id)
        .execution_options(synchronize_session=False)
    )
    link = tables.ScanAudit
    mine = select(link.scan_id).where(link.audit_id == audit_id, ~link.reused).limit(1)
    count_ended(session, mine.scalar_subquery(), 1)
    if state in ("done", "failed"):
        mark_series(session, setting, audit_id)
    return True


def count_ended(session: Session, scan_id: int | ScalarSelect[int], ended: int) -> None:
    """Subtract ended audits from a scan's pending ones; the last one ends the scan. The row lock serializes this."""
    scan = tables.Scan
    counted = session.execute(
        update(scan)
        .where(scan.id == scan_id)
        .values(pending=scan.pending - ended)
        .returning(scan.id, scan.pending)
        .execution_options(synchronize_session=False)
    ).first()
    if counted is not None and counted.pending == 0:
        scan_id = counted.id
        link, audit = tables.ScanAudit, tables.Audit
        of_scan = select(audit.id).join(link, link.audit_id == audit.id).where(link.scan_id == scan_id, ~link.reused)
        early = session.scalar(select(exists(of_scan.where(audit.state == "cancelled"))))
        session.execute(
            update(scan).where(scan.id == scan_id).values(state="interrupted" if early else "done", finished_at=now())
        )
