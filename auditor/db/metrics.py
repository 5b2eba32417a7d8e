"""What the database says to who watches the service: by indexes, in a million audits, but for :func:`count_all`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, case, func, literal_column, select, union
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.completion import now

RECENT_HOURS = 24
MOST_RECENT_ROWS = 5000
"""Of clusterings and of attacks: their keys grow as audits end, so the newest are found without an index on time."""


class EndedCount(NamedTuple):
    """All audits of one state and queue, and how many leases of theirs have run out."""

    state: str
    queue: str
    number: int
    losses: int


class Unfinished(NamedTuple):
    """The queued, or the running jobs of a queue; ``oldest``: for how many seconds one of them has waited."""

    state: str
    queue: str
    number: int
    oldest: float


class LiveWorker(NamedTuple):
    """A process that runs audits."""

    name: str
    queue: str
    silent: float


class Part(NamedTuple):
    """What parts of recent audits took: an attack's name, ``rest`` or ``whole``; ``seconds`` are of all ``number``."""

    part: str
    number: int
    seconds: float


@dataclass(frozen=True)
class Snapshot:
    """The state of the service at one moment."""

    unfinished: list[Unfinished]
    trainings: list[Unfinished]
    scans: dict[str, int]
    workers: list[LiveWorker]
    parts: list[Part]


def count_all(engine: Engine) -> list[EndedCount]:
    """Reads the whole table: 0.4 s for a million audits. Not for each scrape."""
    audit = tables.Audit
    query = select(audit.state, audit.queue, func.count(), func.sum(audit.losses)).group_by(audit.state, audit.queue)
    with Session(engine) as session:
        return [
            EndedCount(state, queue, number, int(losses)) for state, queue, number, losses in session.execute(query)
        ]


def take_snapshot(engine: Engine) -> Snapshot:
    with Session(engine) as session:
        audits, trainings = (_unfinished(session, table) for table in (tables.Audit, tables.Training))
        return Snapshot(audits, trainings, _scans(session), _workers(session), _parts(session))


def _unfinished(session: Session, job: type[tables.Audit] | type[tables.Training]) -> list[Unfinished]:
    """A job that waits once more, since it was tried again or put back, waits since its message was sent."""
    since = case((job.attempt == 0, job.queued_at), else_=func.coalesce(job.sent_at, job.queued_at))
    oldest = func.min(since, type_=job.queued_at.type)
    words: list[ColumnElement[str]] = [
        literal_column(f"'{state}'") for state in ("queued", "running")
    ]  # the index's own, for SQLite's sake
    query = select(job.state, job.queue, func.count(), oldest).where(job.state.in_(words))
    found = session.execute(query.group_by(job.state, job.queue))
    at = now()
    return [
        Unfinished(state, queue, number, max(0.0, (at - first).total_seconds()) if state == "queued" else 0.0)
        for state, queue, number, first in found
    ]


def _scans(session: Session) -> dict[str, int]:
    scan = tables.Scan
    found = session.execute(select(scan.state, func.count()).group_by(scan.state))
    return {row[0]: row[1] for row in found}


def _workers(session: Session) -> list[LiveWorker]:
    worker = tables.Worker
    at = now()
    found = session.execute(select(worker.name, worker.queue, worker.seen_at).order_by(worker.name))
    return [LiveWorker(name, queue, max(0.0, (at - seen).total_seconds())) for name, queue, seen in found]


def _parts(session: Session) -> list[Part]:
    """Of the audits that were done within the last day; of the newest of them where there are very many."""
    audit, attack = tables.Audit, tables.AttackScore
    newest = union(*(_newest(session, table) for table in (tables.Clustering, attack)))
    recent = (
        select(audit.id, audit.seconds)
        .where(
            audit.id.in_(newest),
            audit.state == "done",
            audit.finished_at > now() - timedelta(hours=RECENT_HOURS),
        )
        .cte("recent")
    )
    attacks = select(attack.attack, func.count(), func.sum(attack.seconds)).join(recent, recent.c.id == attack.audit_id)
    parts = [Part(*row) for row in session.execute(attacks.group_by(attack.attack).order_by(attack.attack))]
    number, seconds = session.execute(select(func.count(), func.coalesce(func.sum(recent.c.seconds), 0.0))).one()
    rest = max(0.0, seconds - sum(part.seconds for part in parts))
    return [*parts, Part("rest", number, rest), Part("whole", number, float(seconds))]


def _newest(session: Session, table: type[tables.Clustering | tables.AttackScore]) -> Select[int]:
    """The last key is looked up first: PostgreSQL takes a condition with a number for as selective as it is."""
    last = session.scalar(select(func.max(table.id))) or 0
    return select(table.audit_id).where(table.id > last - MOST_RECENT_ROWS)
