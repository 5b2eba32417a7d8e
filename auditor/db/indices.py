"""Indices over a few of a table's rows, for migrations and their check: to declare them imports PostgreSQL's dialect.

SQLite uses such an index only where a query says the same words, as it does of booleans.
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
