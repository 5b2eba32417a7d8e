"""Numbers for monitoring. All queries use indexes and stay fast with a million audits, except :func:`count_all`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, case, func, literal_column, select, union
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.ending import now
from auditor.db.leases import LEASES_EXPIRED

RECENT_HOURS = 24
MOST_RECENT_ROWS = 5000
"""So many of the newest clusterings and attacks: their keys grow with time, so no index on time is needed."""


class EndedCount(NamedTuple):
    """The number of audits with one state and queue; ``recent``: how many of them ended within the last hour."""

    state: str
    queue: str
    number: int
    recent: int


class Unfinished(NamedTuple):
    """The queued or running jobs of a queue; ``oldest``: the longest wait in seconds."""

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
    """The duration of one part of recent audits: an attack, ``rest`` or ``whole``; ``seconds`` is their sum."""

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
    leases_expired: int


def count_all(engine: Engine) -> list[EndedCount]:
    """Count audits; reads the whole table, 0.4 s for a million audits, so do not call it for each scrape."""
    audit = tables.Audit
    recent = func.count().filter(audit.finished_at > now() - timedelta(hours=1))
    query = select(audit.state, audit.queue, func.count(), recent).group_by(audit.state, audit.queue)
    with Session(engine) as session:
        return [EndedCount(*row) for row in session.execute(query)]


def take_snapshot(engine: Engine) -> Snapshot:
    with Session(engine) as session:
        audits, trainings = (count_unfinished(session, table) for table in (tables.Audit, tables.Training))
        expired = session.get(tables.Counter, LEASES_EXPIRED)
        return Snapshot(
            audits,
            trainings,
            _scans(session),
            _workers(session),
            _parts(session),
            leases_expired=0 if expired is None else expired.value,
        )


def count_unfinished(session: Session, job: type[tables.Audit] | type[tables.Training]) -> list[Unfinished]:
    """A job that was retried or put back has waited from the time when its message was sent again."""
    since = case((job.attempt == 0, job.queued_at), else_=func.coalesce(job.sent_at, job.queued_at))
    oldest = func.min(since, type_=job.queued_at.type)
    words: list[ColumnElement[str]] = [
        literal_column(f"'{state}'") for state in ("queued", "running")
    ]  # as literals, because SQLite uses the index only then
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
    """The parts of the audits done within the last day, or of the newest of them if there are very many."""
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
    """Look up the last key first, because PostgreSQL estimates a condition with a constant correctly."""
    last = session.scalar(select(func.max(table.id))) or 0
    return select(table.audit_id).where(table.id > last - MOST_RECENT_ROWS)
