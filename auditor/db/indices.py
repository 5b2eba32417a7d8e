"""Partial indices, for migrations and their check; apart because declaring them imports PostgreSQL's dialect.

SQLite uses a partial index only if the query repeats its condition literally.
"""

from typing import Any

from sqlalchemy import Index, text

from auditor.db.models import Audit, Certificate, Clustering, Screening, Training

UNFINISHED = "state IN ('queued', 'running')"


def _partial(name: str, *columns: Any, where: str) -> None:
    words = f"{where} = 1" if where.isidentifier() else where
    Index(name, *columns, sqlite_where=text(words), postgresql_where=text(where))


_partial("ix_audits_latest", Audit.model_id, where="latest")
_partial("ix_audits_latest_done", Audit.model_id, where="latest_done")
_partial("ix_audits_unfinished", Audit.queue, Audit.state, where=UNFINISHED)
_partial("ix_trainings_unfinished", Training.queue, Training.state, where=UNFINISHED)

SORTED = {
    Audit: ("clean_accuracy", "robust_accuracy", "n", "seconds"),
    Clustering: ("intra", "inter", "gap", "silhouette", "p_value", "effective_rank"),
    Screening: ("screen_score", "margin", "local_gap", "data_margin"),
    Certificate: ("certified_accuracy", "smoothed_certified_accuracy"),
}
"""Numbers that lists of all audits are sorted by. A queued audit has none of them, so only its end writes the index."""
for _table, _columns in SORTED.items():
    for _column in _columns:
        _of_weights = "kind = 'weights' AND " if _table is Clustering else ""
        _partial(
            f"ix_{_table.__tablename__}_{_column}",
            getattr(_table, _column),
            where=f"{_of_weights}{_column} IS NOT NULL",
        )
