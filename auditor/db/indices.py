"""Partial indices, for migrations and their check; apart because declaring them imports PostgreSQL's dialect.

SQLite uses a partial index only if the query repeats its condition literally.
"""

from typing import Any

from sqlalchemy import Index, text

from auditor.db.models import Audit, Training

UNFINISHED = "state IN ('queued', 'running')"


def _partial(name: str, *columns: Any, where: str) -> None:
    words = f"{where} = 1" if where.isidentifier() else where
    Index(name, *columns, sqlite_where=text(words), postgresql_where=text(where))


_partial("ix_audits_latest", Audit.model_id, where="latest")
_partial("ix_audits_latest_done", Audit.model_id, where="latest_done")
_partial("ix_audits_unfinished", Audit.queue, Audit.state, where=UNFINISHED)
_partial("ix_trainings_unfinished", Training.queue, Training.state, where=UNFINISHED)
