"""Lists and loads checkpoints, each with the audits before and after its training."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.base import iso
from auditor.db.results import Filter, list_results
from auditor.errors import NotFoundError
from auditor.records.checkpoints import AuditSummary, CheckpointRow, Gain

COMPARED = ("n", "only_before", "only_after", "difference", "p_value")
AUDITED = ("n", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "gap", "flags")


def list_checkpoints(engine: Engine) -> list[CheckpointRow]:
    """All checkpoints, the newest first."""
    checkpoint, job = tables.Checkpoint, tables.Training
    query = select(checkpoint, job).join(job, job.id == checkpoint.id).order_by(checkpoint.id.desc())
    with Session(engine) as session:
        found = [(checkpoint_row, job_row) for checkpoint_row, job_row in session.execute(query)]
    return [_row(engine, checkpoint_row, job_row) for checkpoint_row, job_row in found]


def load_checkpoint(engine: Engine, number: int) -> CheckpointRow:
    """One checkpoint.

    Raises:
        NotFoundError: the checkpoint does not exist.
    """
    with Session(engine) as session:
        checkpoint, job = session.get(tables.Checkpoint, number), session.get(tables.Training, number)
    if checkpoint is None or job is None:
        raise NotFoundError(f"there is no checkpoint {number}; see `auditor checkpoints list`")
    return _row(engine, checkpoint, job)


def _row(engine: Engine, checkpoint: tables.Checkpoint, job: tables.Training) -> CheckpointRow:
    entry = job.entry or {}
    same = ("parent_sha256", "weights_sha256", "data_sha256", "stopped", "verdict", "versions")
    scan = job.request["scan"]
    lineage = entry["training"].get("lineage", []) if entry["source"] == "checkpoint" else []
    return CheckpointRow(
        id=checkpoint.id,
        checkpoint=f"checkpoint:{checkpoint.id}",
        model=checkpoint.parent,
        lineage=[*lineage, checkpoint.parent],
        **{name: getattr(checkpoint, name) for name in same},
        **{name: entry[name] for name in ("dataset", "norm", "eps")},
        recipe=job.request["recipe"],
        **{name: scan[name] for name in ("protocol", "samples", "device")},
        history=job.history,
        best=checkpoint.best_epoch,
        before=_summarize(engine, checkpoint.before_audit_id),
        after=_summarize(engine, checkpoint.after_audit_id),
        comparison=_gain(checkpoint),
        seconds=job.seconds,
        created_at=iso(checkpoint.created_at),
        folder=str(settings().checkpoints / str(checkpoint.id)),
    )


def _gain(checkpoint: tables.Checkpoint) -> Gain | None:
    if checkpoint.n is None:
        return None
    values = {name: getattr(checkpoint, name) for name in COMPARED}
    return Gain(**values | {"low": checkpoint.difference_low, "high": checkpoint.difference_high})


def _summarize(engine: Engine, audit_id: int | None) -> AuditSummary | None:
    """None if the audit was not made, or was deleted from the database."""
    if audit_id is None:
        return None
    rows = list_results(engine, Filter(id=audit_id, history=True))
    return AuditSummary(audit=audit_id, **{name: getattr(rows[0], name) for name in AUDITED}) if rows else None
