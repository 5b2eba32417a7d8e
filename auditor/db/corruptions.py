"""The accuracies of audits under common corruptions, as rows and as records."""

from typing import TYPE_CHECKING

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.codec import pack_bits, unpack_bits
from auditor.errors import UsageError
from auditor.records.corruptions import SEVERITIES, CorruptionScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def corruption_rows(audit_id: int, scores: tuple[CorruptionScore, ...]) -> list[tables.Corruption]:
    """The rows of an audit's scores, which are in the order of the corruptions."""
    return [
        tables.Corruption(
            audit_id=audit_id,
            corruption=score.corruption,
            severity=score.severity,
            position=k // len(SEVERITIES),
            n=score.n,
            n_right=score.right,
            accuracy=score.accuracy,
            verdicts=None if score.verdicts is None else pack_bits(score.verdicts),
        )
        for k, score in enumerate(scores)
    ]


def corruption_score(row: tables.Corruption) -> CorruptionScore:
    """The record of a row."""
    verdicts = None if row.verdicts is None else unpack_bits(row.verdicts, row.n)
    return CorruptionScore(
        corruption=row.corruption, severity=row.severity, n=row.n, right=row.n_right, verdicts=verdicts
    )


def load_shares(engine: Engine, audit_id: int) -> "NDArray[np.float64]":
    """The share ``(N,)`` of its corruptions under which each image of an audit is classified correctly.

    Raises:
        UsageError: the verdicts were pruned.
    """
    row = tables.Corruption
    query = select(row).where(row.audit_id == audit_id).order_by(row.position, row.severity)
    with Session(engine) as session:
        return shares_of(audit_id, tuple(corruption_score(found) for found in session.scalars(query)))


def shares_of(audit_id: int, scores: tuple[CorruptionScore, ...]) -> "NDArray[np.float64]":
    """The same from the scores of an audit."""
    import numpy as np

    verdicts = [score.verdicts for score in scores if score.verdicts is not None]
    if not verdicts or len(verdicts) < len(scores):
        raise UsageError(
            f"result {audit_id} has no verdicts by image and corruption, because they were pruned from the database; "
            "`auditor scan … --force` makes them again"
        )
    shares: NDArray[np.float64] = np.mean(verdicts, axis=0, dtype=np.float64)
    return shares
