"""Checkpoints as people ask about them: what a boost left, and what the audits before and after say of it."""

from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.results import Filter, list_results
from auditor.errors import UsageError

Row = dict[str, Any]
COMPARED = ("n", "only_before", "only_after", "difference", "p_value")
AUDITED = ("n", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "gap", "flags")


def list_checkpoints(engine: Engine) -> list[Row]:
    """All of them, the newest first."""
    checkpoint, job = tables.Checkpoint, tables.Training
    query = select(checkpoint, job).join(job, job.id == checkpoint.id).order_by(checkpoint.id.desc())
    with Session(engine) as session:
        found = [(made, asked) for made, asked in session.execute(query)]
    return [_row(engine, made, asked) for made, asked in found]


def load_checkpoint(engine: Engine, number: int) -> Row:
    """One of them.

    Raises:
        UsageError: there is none of this number.
    """
    with Session(engine) as session:
        made, asked = session.get(tables.Checkpoint, number), session.get(tables.Training, number)
    if made is None or asked is None:
        raise UsageError(f"there is no checkpoint {number}; see `auditor checkpoints list`")
    return _row(engine, made, asked)


def _row(engine: Engine, made: tables.Checkpoint, asked: tables.Training) -> Row:
    entry = asked.entry or {}
    same = ("parent_sha256", "weights_sha256", "data_sha256", "stopped", "verdict", "versions")
    scan = asked.request["scan"]
    lineage = entry["training"].get("lineage", []) if entry["source"] == "checkpoint" else []
    return {
        "id": made.id,
        "checkpoint": f"checkpoint:{made.id}",
        "model": made.parent,
        "lineage": [*lineage, made.parent],
        **{name: getattr(made, name) for name in same},
        **{name: entry[name] for name in ("dataset", "norm", "eps")},
        "recipe": asked.request["recipe"],
        **{name: scan[name] for name in ("protocol", "samples", "device")},
        "history": asked.history,
        "best": made.best_epoch,
        "before": _audited(engine, made.before_audit_id),
        "after": _audited(engine, made.after_audit_id),
        "comparison": _compared(made),
        "seconds": asked.seconds,
        "created_at": made.created_at.isoformat(timespec="seconds"),
        "folder": str(settings().checkpoints / str(made.id)),
    }


def _compared(made: tables.Checkpoint) -> Row | None:
    if made.n is None:
        return None
    return {name: getattr(made, name) for name in COMPARED} | {
        "low": made.difference_low,
        "high": made.difference_high,
    }


def _audited(engine: Engine, audit_id: int | None) -> Row | None:
    """None where the audit was not made, or is gone from the database."""
    if audit_id is None:
        return None
    rows = list_results(engine, Filter(id=audit_id, history=True))
    return {"audit": audit_id} | {name: getattr(rows[0], name) for name in AUDITED} if rows else None
