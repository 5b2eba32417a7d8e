"""Lists and loads checkpoints, each with the audits before and after its training."""

from collections.abc import Iterable, Sequence

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


def list_checkpoints(engine: Engine, *, limit: int | None = None, before: int | None = None) -> list[CheckpointRow]:
    """Checkpoints, the newest first. ``before``: only older ones than this."""
    checkpoint, job = tables.Checkpoint, tables.Training
    query = select(checkpoint, job).join(job, job.id == checkpoint.id).order_by(checkpoint.id.desc()).limit(limit)
    query = query if before is None else query.where(checkpoint.id < before)
    with Session(engine) as session:
        found = [(checkpoint_row, job_row) for checkpoint_row, job_row in session.execute(query)]
    return _rows(engine, found)


def load_checkpoint(engine: Engine, number: int) -> CheckpointRow:
    """One checkpoint.

    Raises:
        NotFoundError: the checkpoint does not exist.
    """
    with Session(engine) as session:
        checkpoint, job = session.get(tables.Checkpoint, number), session.get(tables.Training, number)
    if checkpoint is None or job is None:
        raise NotFoundError(f"there is no checkpoint {number}; see `auditor checkpoints list`")
    return _rows(engine, [(checkpoint, job)])[0]


def _rows(engine: Engine, found: Sequence[tuple[tables.Checkpoint, tables.Training]]) -> list[CheckpointRow]:
    audits = _summarize(engine, [number for one, _ in found for number in (one.before_audit_id, one.after_audit_id)])
    return [_row(checkpoint, job, audits) for checkpoint, job in found]


def _row(checkpoint: tables.Checkpoint, job: tables.Training, audits: dict[int, AuditSummary]) -> CheckpointRow:
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
        before=audits.get(checkpoint.before_audit_id or 0),
        after=audits.get(checkpoint.after_audit_id or 0),
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


def _summarize(engine: Engine, numbers: Iterable[int | None]) -> dict[int, AuditSummary]:
    """The results of these audits by ID, in one query; without those that were deleted from the database."""
    ids = [number for number in numbers if number is not None]
    rows = list_results(engine, Filter(ids=ids, history=True)) if ids else []
    return {row.id: AuditSummary(audit=row.id, **{name: getattr(row, name) for name in AUDITED}) for row in rows}
