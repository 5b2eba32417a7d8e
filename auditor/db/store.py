"""Where records become rows. Every write of a job carries its attempt and is refused once a newer one exists."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.codec import null, pack_bits, pack_indices, pack_matrix, pack_pictures
from auditor.db.latest import confirm, mark_latest
from auditor.records import AuditRecord, ZooEntry


@dataclass(frozen=True)
class Job:
    """One queued audit as it was asked for."""

    audit_id: int
    entry: ZooEntry


class Store:
    """Scans and audits in the database, each method one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create_scan(self, source: str, request: dict[str, Any], entries: Sequence[ZooEntry]) -> tuple[int, list[Job]]:
        """A running scan with one queued audit an entry; its id and the jobs."""
        with Session(self.engine) as session, session.begin():
            scan = tables.Scan(source=source, request=request, state="running", started_at=_now())
            session.add(scan)
            audits = [_queued(_model_row(session, entry), entry, request) for entry in entries]
            session.add_all(audits)
            session.flush()
            session.add_all(tables.ScanAudit(scan_id=scan.id, audit_id=audit.id, reused=False) for audit in audits)
            return scan.id, [Job(audit.id, entry) for audit, entry in zip(audits, entries, strict=True)]

    def find_places(self, models: Sequence[str]) -> dict[str, str]:
        """The folders that models of local zoos were in when they were scanned last, by name."""
        model = tables.Model
        query = select(model.name, model.place).where(model.name.in_(models), model.place.is_not(None))
        with Session(self.engine) as session:
            return {name: str(place) for name, place in session.execute(query)}

    def claim(self, audit_id: int) -> int | None:
        """Take a queued audit for this process: its attempt number, or None where somebody else has it."""
        claimed = (
            update(tables.Audit)
            .where(tables.Audit.id == audit_id, tables.Audit.state == "queued")
            .values(state="running", attempt=tables.Audit.attempt + 1, started_at=_now())
            .returning(tables.Audit.attempt)
        )
        with Session(self.engine) as session, session.begin():
            return session.scalar(claimed)

    def finish(self, audit_id: int, attempt: int, record: AuditRecord) -> bool:
        """Store what an audit found; False, and nothing stored, where the attempt is no longer the current one."""
        with Session(self.engine) as session, session.begin():
            if not self._end(session, audit_id, attempt, state="done", **_columns(record)):
                return False
            session.add_all(_children(audit_id, record))
            mark_latest(session, audit_id)
            return True

    def fail(self, audit_id: int, attempt: int, reason: str) -> bool:
        """Store why an audit failed."""
        with Session(self.engine) as session, session.begin():
            if not self._end(session, audit_id, attempt, state="failed", reason=reason):
                return False
            mark_latest(session, audit_id)
            return True

    def cancel(self, scan_id: int, reason: str) -> None:
        """End a scan early: its audits that are not done are cancelled, with the reason."""
        mine = select(tables.ScanAudit.audit_id).where(tables.ScanAudit.scan_id == scan_id)
        with Session(self.engine) as session, session.begin():
            session.execute(
                update(tables.Audit)
                .where(tables.Audit.id.in_(mine), tables.Audit.state.in_(("queued", "running")))
                .values(state="cancelled", reason=reason, finished_at=_now())
            )
            self._close_scan(session, scan_id, "interrupted")

    def finish_scan(self, scan_id: int) -> None:
        with Session(self.engine) as session, session.begin():
            self._close_scan(session, scan_id, "done")

    def find_done(self, model: str, identity: str) -> int | None:
        """The newest done audit of this model and identity."""
        query = (
            select(tables.Audit.id)
            .join(tables.Model, tables.Model.id == tables.Audit.model_id)
            .where(tables.Model.name == model, tables.Audit.identity == identity, tables.Audit.state == "done")
            .order_by(tables.Audit.confirmed_at.desc(), tables.Audit.id.desc())
            .limit(1)
        )
        with Session(self.engine) as session:
            return session.scalar(query)

    def reuse(self, scan_id: int, audit_id: int, attempt: int, done_id: int) -> bool:
        """Let the scan speak of an audit done before, in the place of the one that need not run."""
        with Session(self.engine) as session, session.begin():
            if not self._end(session, audit_id, attempt, state="cancelled", reason="done before"):
                return False
            session.delete(session.get_one(tables.Audit, audit_id))
            if session.get(tables.ScanAudit, (scan_id, done_id)) is None:
                session.add(tables.ScanAudit(scan_id=scan_id, audit_id=done_id, reused=True))
            confirm(session, done_id, _now())
            return True

    def _end(self, session: Session, audit_id: int, attempt: int, **values: Any) -> bool:
        now = _now()
        ended = session.execute(
            update(tables.Audit)
            .where(tables.Audit.id == audit_id, tables.Audit.attempt == attempt, tables.Audit.state == "running")
            .values(finished_at=now, confirmed_at=now, **values)
            .returning(tables.Audit.id)
        )
        return ended.first() is not None

    def _close_scan(self, session: Session, scan_id: int, state: str) -> None:
        scan = session.get_one(tables.Scan, scan_id)
        scan.state, scan.finished_at = state, _now()


def _now() -> datetime:
    return datetime.now(UTC)


def _model_row(session: Session, entry: ZooEntry) -> tables.Model:
    """The model's row, made or brought up to date; two scans may do so at once."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    names = ("source", "description", "dataset", "architecture", "training", "place")
    values = {name: getattr(entry, name) for name in names}
    made = insert(tables.Model).values(name=entry.model, **values)
    session.execute(made.on_conflict_do_update(index_elements=["name"], set_=values))
    return session.scalars(select(tables.Model).where(tables.Model.name == entry.model)).one()


def _queued(model: tables.Model, entry: ZooEntry, request: dict[str, Any]) -> tables.Audit:
    return tables.Audit(
        model=model,
        state="queued",
        attempt=0,
        dataset=entry.dataset,
        threat_model=entry.threat_model,
        norm=entry.norm,
        eps=entry.eps,
        protocol=request["protocol"],
        samples=request["samples"],
        linearization=request["linearization"],
        sketch=request["sketch"],
        seed=request["seed"],
        device=request["device"],
        parameters={},
        classes=[],
        superclasses=[],
        flags=[],
        notes=[],
        not_measurable=[],
        versions={},
        queued_at=_now(),
    )


def _columns(record: AuditRecord) -> dict[str, Any]:
    """An audit's own columns, by name, from its record."""
    same = (
        "identity",
        "parameters",
        "hierarchy",
        "weights_sha256",
        "images_sha256",
        "n",
        "seconds",
        "device",
        "batch_size",
        "versions",
    )
    lists = ("classes", "superclasses", "flags", "notes", "not_measurable")
    numbers = ("clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "affinity_error")
    return (
        {name: getattr(record, name) for name in same}
        | {name: list(getattr(record, name)) for name in lists}
        | {name: null(getattr(record, name)) for name in numbers}
    )


def _children(audit_id: int, record: AuditRecord) -> list[tables.Base]:
    rows: list[tables.Base] = []
    for part in record.clusterings:
        scores = asdict(part.scores)
        order, reasons = list(scores.pop("leaf_order")), scores.pop("reasons")
        rows.append(
            tables.Clustering(
                audit_id=audit_id,
                kind=part.kind,
                leaf_order=order,
                reasons=reasons,
                size=len(part.whole()),
                matrix=pack_matrix(part.whole()),
                **{name: null(value) for name, value in scores.items()},
            )
        )
    for position, score in enumerate(record.attacks):
        rows.append(tables.AttackScore(audit_id=audit_id, position=position, **asdict(score)))
    if record.verdicts is not None:
        rows.append(
            tables.Verdicts(
                audit_id=audit_id,
                n=len(record.verdicts.indices),
                indices=pack_indices(record.verdicts.indices),
                correct=pack_bits(record.verdicts.correct),
                survived=pack_bits(record.verdicts.survived),
                pictures=None if record.verdicts.pictures is None else pack_pictures(record.verdicts.pictures),
            )
        )
    return rows
