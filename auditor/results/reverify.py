"""Chooses done audits to measure again, and flags those with a different outcome."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.results import load_detail
from auditor.records import AuditRecord, ZooEntry
from auditor.records.extra_attacks import attacks_label
from auditor.results.diff import NOT_REPRODUCED

GAP_TOLERANCE = 1e-3
"""Between two measurements of one gap: sums in another order, of another number of threads, differ by far less."""


def longest_unverified(engine: Engine, entries: Sequence[ZooEntry], request: dict[str, Any], number: int) -> list[str]:
    """The models whose done result under this setting was measured longest ago, so that each gets its turn."""
    audit, model = tables.Audit, tables.Model
    names = ("protocol", "samples", "linearization", "sketch", "seed")
    same_request = [getattr(audit, name).is_not_distinct_from(request[name]) for name in names]
    same_request.append(audit.extra_attacks.is_not_distinct_from(attacks_label(request.get("extra_attacks"))))
    mine = {(entry.model, entry.dataset, entry.norm, entry.eps) for entry in entries}
    query = select(model.name, audit.dataset, audit.norm, audit.eps).join(model, model.id == audit.model_id)
    link = tables.ScanAudit
    measured = select(func.max(link.scan_id)).where(link.audit_id == audit.id, link.reverified | ~link.reused)
    query = query.where(audit.latest_done, *same_request).order_by(measured.scalar_subquery(), audit.id)
    with Session(engine) as session:
        found = [row.name for row in session.execute(query) if tuple(row) in mine]
    return found[:number]


def flag_difference(engine: Engine, earlier_id: int, record: AuditRecord) -> AuditRecord | None:
    """Compare a new measurement with an earlier one of the same identity: None if equal, else the flagged record."""
    differs = _difference(engine, earlier_id, record)
    if differs is None:
        return None
    note = f"not reproduced: {differs} beside result {earlier_id} of the same identity"
    return replace(record, flags=(*record.flags, NOT_REPRODUCED), notes=(*record.notes, note))


def _difference(engine: Engine, earlier_id: int, record: AuditRecord) -> str | None:
    before = load_detail(engine, earlier_id)
    if before.verdicts is not None and record.verdicts is not None:
        old, new = before.verdicts, record.verdicts
        if len(old.indices) != len(new.indices) or (old.indices != new.indices).any():
            return "other samples"
        other = int(np.logical_or(old.correct != new.correct, old.survived != new.survived).sum())
        if other:
            return f"other verdicts on {other} of {len(new.indices)} samples"
        for score, earlier in zip(record.corruptions, before.corruptions, strict=False):
            if not np.array_equal(score.verdicts, earlier.verdicts):  # type: ignore[arg-type]
                return f"other verdicts under {score.corruption} at severity {score.severity}"
    elif record.n and (record.clean_accuracy, record.robust_accuracy) != (
        before.row.clean_accuracy,
        before.row.robust_accuracy,
    ):
        return f"a robust accuracy of {record.robust_accuracy:g} instead of {before.row.robust_accuracy:g}"
    for part in record.clusterings:
        known = before.clusterings.get(part.kind)
        if known is not None and abs(part.scores.gap - known.scores.gap) > GAP_TOLERANCE:
            return f"a gap of {part.scores.gap:.4f} ({part.kind}) instead of {known.scores.gap:.4f}"
    return None
