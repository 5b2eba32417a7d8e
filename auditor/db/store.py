"""Stores records as rows. Each write of a job carries its attempt number and fails if a newer attempt exists."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from auditor import tracing
from auditor.db import models as tables
from auditor.db.base import Base, upsert
from auditor.db.certificates import certificate_row
from auditor.db.codec import (
    nan_to_null,
    pack_bits,
    pack_indices,
    pack_matrix,
    pack_numbers,
    pack_pictures,
    pack_templates,
)
from auditor.db.corruptions import corruption_rows
from auditor.db.curves import curve_row
from auditor.db.ending import count_ended, end_audit, now
from auditor.db.latest import confirm
from auditor.db.leases import Leases, cancel_unfinished
from auditor.db.retry import with_retries
from auditor.db.schedules import attach_scan
from auditor.db.session import single
from auditor.records import LOCAL_QUEUE, STOPPED_EARLY, STOPPED_SAMPLES, AuditRecord, Verdicts, ZooEntry
from auditor.records.corruptions import is_corruptions, protocol_under
from auditor.records.entries import entry_to, read_stored_entry
from auditor.records.extra_attacks import attacks_label
from auditor.records.schedules import Claim
from auditor.records.screening import Screening
from auditor.records.templates import Templates


@dataclass(frozen=True)
class Job:
    """The job of one audit; ``request`` is that of its scan."""

    audit_id: int
    scan_id: int
    entry: ZooEntry
    request: dict[str, Any]


class Store:
    """Scans and audits in the database. Each method is one short transaction.

    ``patience``: for how many seconds a job's writes are retried while the database is unavailable or full.
    """

    def __init__(self, engine: Engine, patience: float = 0) -> None:
        self.engine = engine
        self.patience = patience

    def create_scan(
        self,
        source: str,
        request: dict[str, Any],
        entries: Sequence[ZooEntry],
        *,
        queue: str = LOCAL_QUEUE,
        worker: str | None = None,
        claim: Claim | None = None,
    ) -> tuple[int, list[Job]]:
        """Create a running scan with one queued audit per entry; returns its id and the jobs.

        Raises:
            UsageError: the run of a schedule, claimed by ``claim``, has a scan already, or has ended.
        """
        request = request | tracing.carrier()
        with Session(self.engine) as session, session.begin():
            scan = tables.Scan(
                source=source,
                request=request,
                state="running",
                queue=queue,
                worker=worker,
                pending=len(entries),
                started_at=now(),
            )
            session.add(scan)
            found = {entry.model: _model_row(session, entry) for entry in sorted(entries, key=lambda one: one.model)}
            audits = [_queued(found[entry.model], entry, request, queue) for entry in entries]
            session.add_all(audits)
            session.flush()
            session.add_all(tables.ScanAudit(scan_id=scan.id, audit_id=audit.id, reused=False) for audit in audits)
            if claim is not None:
                attach_scan(session, claim, scan.id)
            jobs = [Job(audit.id, scan.id, entry, request) for audit, entry in zip(audits, entries, strict=True)]
            return scan.id, jobs

    def find_places(self, models: Sequence[str]) -> dict[str, str]:
        """The folders of local zoos at the last scan, by the name of the model."""
        model = tables.Model
        query = select(model.name, model.place).where(model.name.in_(models), model.place.is_not(None))
        with Session(self.engine) as session:
            return {name: str(place) for name, place in session.execute(query)}

    @with_retries
    def load_job(self, audit_id: int) -> Job | None:
        """Load a job by its id; None if it does not exist, or an older auditor stored it.

        Raises:
            UsageError: another version of auditor wrote the zoo entry.
        """
        link, audit = tables.ScanAudit, tables.Audit
        query = select(audit.entry, tables.Scan.id, tables.Scan.request).select_from(audit)
        query = query.join(link, (link.audit_id == audit.id) & ~link.reused).join(tables.Scan)
        with single(self.engine) as session:
            row = session.execute(query.where(audit.id == audit_id, audit.entry.is_not(None))).first()
        return None if row is None else Job(audit_id, row[1], read_stored_entry(row[0]), row[2])

    def claim(
        self, audit_id: int, worker: str | None = None, lease: float = 60, queue: str | None = None
    ) -> int | None:
        """Take a queued audit for ``lease`` seconds: its attempt number, or None if another process has it.

        ``queue``: claim only if the audit is in this queue now, because the message may be outdated.
        """
        return Leases(self.engine, self.patience).claim(audit_id, worker, lease, queue)

    @with_retries
    def finish(self, audit_id: int, attempt: int, record: AuditRecord) -> bool:
        """Store the record of an audit; False, and nothing is stored, if the attempt is no longer the current one."""
        with Session(self.engine) as session, session.begin():
            if not end_audit(session, audit_id, attempt, state="done", **_columns(record)):
                return False
            session.add_all(_children(audit_id, record))
            return True

    @with_retries
    def fail(self, audit_id: int, attempt: int, reason: str) -> bool:
        """Store why an audit failed."""
        with Session(self.engine) as session, session.begin():
            return end_audit(session, audit_id, attempt, state="failed", reason=reason)

    def cancel(self, scan_id: int, reason: str) -> None:
        """Cancel the unfinished audits of a scan whose processes are gone."""
        with Session(self.engine) as session, session.begin():
            cancel_unfinished(session, scan_id, reason)

    @with_retries
    def find_done(self, model: str, identity: str) -> int | None:
        """The newest done audit of this model and identity."""
        query = (
            select(tables.Audit.id)
            .join(tables.Model, tables.Model.id == tables.Audit.model_id)
            .where(tables.Model.name == model, tables.Audit.identity == identity, tables.Audit.state == "done")
            .order_by(tables.Audit.confirmed_at.desc(), tables.Audit.id.desc())
            .limit(1)
        )
        with single(self.engine) as session:
            return session.scalar(query)

    @with_retries
    def reuse(self, scan_id: int, audit_id: int, attempt: int, done_id: int, *, reverified: bool = False) -> bool:
        """Replace a running audit of a scan by a done one with the same identity or the same outcome."""
        with Session(self.engine) as session, session.begin():
            audit = tables.Audit
            mine = (audit.id == audit_id, audit.attempt == attempt, audit.state == "running")
            if session.scalar(delete(audit).where(*mine).returning(audit.id)) is None:
                return False
            count_ended(session, scan_id, 1)
            if session.get(tables.ScanAudit, (scan_id, done_id)) is None:
                session.add(tables.ScanAudit(scan_id=scan_id, audit_id=done_id, reused=True, reverified=reverified))
            confirm(session, done_id, now())
            return True


def _model_row(session: Session, entry: ZooEntry) -> tables.Model:
    """Create or update the row of a model; two scans may do this at the same time."""
    names = ("source", "description", "dataset", "architecture", "training", "place")
    upsert(session, tables.Model, "name", {"name": entry.model, **{name: getattr(entry, name) for name in names}})
    return session.scalars(select(tables.Model).where(tables.Model.name == entry.model)).one()


def _queued(model: tables.Model, entry: ZooEntry, request: dict[str, Any], queue: str) -> tables.Audit:
    return tables.Audit(
        model=model,
        entry=entry_to(entry),
        queue=queue,
        state="queued",
        attempt=0,
        losses=0,
        latest=False,
        latest_done=False,
        dataset=entry.dataset,
        threat_model=entry.threat_model,
        norm=entry.norm,
        eps=entry.eps,
        protocol=protocol_under(request["protocol"], entry.norm),
        samples=request["samples"],
        linearization=request["linearization"],
        sketch=request["sketch"],
        extra_attacks=None if is_corruptions(entry.norm) else attacks_label(request.get("extra_attacks")),
        seed=request["seed"],
        device=request["device"],
        parameters={},
        classes=[],
        superclasses=[],
        flags=[],
        notes=[],
        not_measurable=[],
        versions={},
        queued_at=now(),
    )


def _columns(record: AuditRecord) -> dict[str, Any]:
    """The columns of an audit's row, by name."""
    same = (
        "identity",
        "protocol",
        "parameters",
        "hierarchy",
        "weights_sha256",
        "images_sha256",
        "adversarials",
        "extra_attacks",
        "n",
        "seconds",
        "device",
        "batch_size",
        "versions",
    )
    lists = ("classes", "superclasses", "flags", "notes", "not_measurable")
    numbers = ("clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "affinity_error")
    screened = {"samples": 0} if record.protocol == "screen" else {}  # a triage left it at that
    if STOPPED_EARLY in record.flags:  # a series of its own: it replaces no complete result
        screened = {"samples": STOPPED_SAMPLES}
    return (
        {name: getattr(record, name) for name in same}
        | screened
        | {name: list(getattr(record, name)) for name in lists}
        | {name: nan_to_null(getattr(record, name)) for name in numbers}
        | {"targeted": None if record.targeted is None else asdict(record.targeted)}
    )


def _children(audit_id: int, record: AuditRecord) -> list[Base]:
    rows: list[Base] = []
    for part in record.clusterings:
        scores = asdict(part.scores)
        order, reasons = list(scores.pop("leaf_order")), scores.pop("reasons")
        rows.append(
            tables.Clustering(
                audit_id=audit_id,
                kind=part.kind,
                leaf_order=order,
                reasons=reasons,
                size=len(part.full_matrix()),
                matrix=pack_matrix(part.full_matrix()),
                **{name: nan_to_null(value) for name, value in scores.items()},
            )
        )
    for position, score in enumerate(record.attacks):
        rows.append(tables.AttackScore(audit_id=audit_id, position=position, **asdict(score)))
    if record.screening is not None:
        rows.append(_screening_row(audit_id, record.screening))
    if record.certificate is not None:
        rows.append(certificate_row(audit_id, record.certificate))
    rows += [_templates_row(audit_id, part) for part in record.templates]
    if record.verdicts is not None:
        rows.append(_verdicts_row(audit_id, record.verdicts))
    rows += corruption_rows(audit_id, record.corruptions)
    if record.curve is not None:
        rows.append(curve_row(audit_id, record.curve))
    return rows


def _verdicts_row(audit_id: int, verdicts: Verdicts) -> tables.Verdicts:
    labels, predicted, broken_at = verdicts.labels, verdicts.predicted, verdicts.broken_at
    return tables.Verdicts(
        audit_id=audit_id,
        n=len(verdicts.indices),
        indices=pack_indices(verdicts.indices),
        correct=pack_bits(verdicts.correct),
        survived=pack_bits(verdicts.survived),
        pictures=None if verdicts.pictures is None else pack_pictures(verdicts.pictures),
        labels=None if labels is None else pack_numbers(labels),
        predicted=None if predicted is None else pack_numbers(predicted[~verdicts.survived]),
        broken_at=None if broken_at is None else pack_numbers(broken_at[verdicts.correct & ~verdicts.survived]),
    )


def _screening_row(audit_id: int, screening: Screening) -> tables.Screening:
    return tables.Screening(
        audit_id=audit_id,
        screen_score=nan_to_null(screening.score),
        margin=nan_to_null(screening.margin),
        local_gap=nan_to_null(screening.local_gap),
        data_margin=nan_to_null(screening.data_margin),
        statistics={name: nan_to_null(value) for name, value in screening.statistics.items()},
        findings=list(screening.findings),
        reasons=screening.reasons,
    )


def _templates_row(audit_id: int, part: Templates) -> tables.Templates:
    scales, pixels = pack_templates(part.values)
    return tables.Templates(
        audit_id=audit_id,
        kind=part.kind,
        probes=part.probes,
        size=list(part.size),
        shape=list(part.values.shape),
        scales=scales,
        pixels=pixels,
    )
