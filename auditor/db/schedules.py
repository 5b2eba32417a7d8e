"""Schedules and their runs as rows: a due time of a schedule is taken once, whoever looks at the clock."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import inserting
from auditor.db.ending import now
from auditor.errors import UsageError

try:
    import fcntl
except ImportError:  # not on Windows: there several beats may tell of the same end
    fcntl = None  # type: ignore[assignment]

Row = dict[str, Any]
TELLER_LOCK = 0x617564_7465_6C6C
"""The number of the advisory lock on PostgreSQL; any that nobody else uses."""


@dataclass(frozen=True)
class Schedule:
    """A schedule as it is now; ``command`` are the words after ``auditor``."""

    id: int
    name: str
    cron: str
    command: tuple[str, ...]
    enabled: bool
    changed_at: datetime


@dataclass(frozen=True)
class Run:
    """A due time that this process has taken."""

    id: int
    schedule: Schedule
    due_at: datetime


def add_schedule(engine: Engine, name: str, cron: str, command: Sequence[str], *, replace: bool = False) -> None:
    """Raises UsageError where there is one of this name, and it is not to be replaced."""
    with Session(engine) as session, session.begin():
        one = session.scalars(select(tables.Schedule).where(tables.Schedule.name == name)).first()
        if one is None:
            session.add(tables.Schedule(name=name, cron=cron, command=list(command), enabled=True, changed_at=now()))
        elif replace:
            one.cron, one.command, one.changed_at = cron, list(command), now()
        else:
            raise UsageError(f"there is a schedule {name!r} already: remove it first, or say --replace")


def remove_schedule(engine: Engine, name: str) -> None:
    """Its runs go with it; the scans that they became stay. UsageError where there is none."""
    with Session(engine) as session, session.begin():
        session.execute(delete(tables.Schedule).where(tables.Schedule.id == _get(session, name).id))


def enable_schedule(engine: Engine, name: str, enabled: bool) -> None:
    """What was due while it was off is not made up for. UsageError where there is none."""
    with Session(engine) as session, session.begin():
        one = _get(session, name)
        if one.enabled != enabled:
            one.enabled, one.changed_at = enabled, now()


def find_schedule(engine: Engine, name: str) -> Schedule:
    """Raises UsageError where there is none."""
    with Session(engine) as session:
        return _record(_get(session, name))


def all_schedules(engine: Engine) -> list[Schedule]:
    with Session(engine) as session:
        return [_record(one) for one in session.scalars(select(tables.Schedule).order_by(tables.Schedule.name))]


def last_run(engine: Engine, schedule: Schedule) -> Row | None:
    """The newest run of a schedule, with the state of its scan."""
    run, scan = tables.ScheduleRun, tables.Scan
    query = select(run, scan.state).outerjoin(scan, scan.id == run.scan_id).where(run.schedule_id == schedule.id)
    with Session(engine) as session:
        found = session.execute(query.order_by(run.due_at.desc()).limit(1)).first()
        if found is None:
            return None
        one, state = found
        of_scan = {"scan": one.scan_id, "scan_state": state}
        return {"due_at": one.due_at, "state": one.state, "reason": one.reason, **of_scan}


def take_run(engine: Engine, schedule: Schedule, due_at: datetime, *, skipped: str | None = None) -> Run | None:
    """Take a due time: None where it has been taken before, or the schedule has changed since it was read.

    ``skipped``: why nothing is to come of it.
    """
    run, now_ = tables.ScheduleRun, now()
    values = {
        "schedule_id": schedule.id,
        "due_at": due_at,
        "state": "skipped" if skipped else "started",
        "started_at": now_,
        "reason": skipped,
        "reported_at": now_ if skipped else None,
    }
    with Session(engine) as session, session.begin():
        same = select(tables.Schedule).where(tables.Schedule.id == schedule.id).with_for_update(read=True)
        current = session.scalars(same).first()
        if current is None or _record(current) != schedule:
            return None
        made = inserting(session, run).values(values).on_conflict_do_nothing(index_elements=["schedule_id", "due_at"])
        number = session.scalar(made.returning(run.id))
    return None if number is None or skipped else Run(number, schedule, due_at)


def reclaim_runs(engine: Engine, patience: timedelta) -> list[Run]:
    """Runs that were taken, and have become no scan for so long: who took them is gone."""
    run, at = tables.ScheduleRun, now()
    lost = (run.state == "started", run.scan_id.is_(None), run.started_at < at - patience)
    with Session(engine) as session, session.begin():
        taken = session.execute(update(run).where(*lost).values(started_at=at).returning(run.id)).scalars().all()
        found = select(run, tables.Schedule).join(tables.Schedule).where(run.id.in_(taken))
        return [Run(one.id, _record(schedule), one.due_at) for one, schedule in session.execute(found)]


def give_scan(session: Session, run_id: int, scan_id: int) -> None:
    """The scan that a run has become, in the transaction that makes it: one at most, whoever else made one meanwhile.

    Raises:
        UsageError: it has become one before, or there is no such run.
    """
    run = tables.ScheduleRun
    given = update(run).where(run.id == run_id, run.scan_id.is_(None)).values(scan_id=scan_id).returning(run.id)
    if session.scalar(given) is None:
        raise UsageError(f"run {run_id} of a schedule has become a scan before, or is none")


def end_run(engine: Engine, run_id: int, state: str, reason: str | None = None) -> None:
    """A run that has become what it was to become, or failed to."""
    run = tables.ScheduleRun
    with Session(engine) as session, session.begin():
        session.execute(update(run).where(run.id == run_id, run.state == "started").values(state=state, reason=reason))


def runs_to_report(engine: Engine) -> list[tuple[int, str, int | None, str | None]]:
    """Runs that have ended, their scans too, and of which nobody was told: id, schedule, scan, reason."""
    run, scan = tables.ScheduleRun, tables.Scan
    query = select(run.id, tables.Schedule.name, run.scan_id, run.reason).join(tables.Schedule)
    query = query.outerjoin(scan, scan.id == run.scan_id).where(run.reported_at.is_(None))
    ended = (run.state == "failed") | scan.state.in_(("done", "interrupted"))
    with Session(engine) as session:
        return [tuple(row) for row in session.execute(query.where(ended).order_by(run.id))]  # type: ignore[misc]


@contextlib.contextmanager
def only_teller(engine: Engine) -> Iterator[bool]:
    """Whether this process is the one that tells of ends, for as long as it is within.

    The lock goes with its process, however that ends: one of PostgreSQL's, or one on the folder of an SQLite file.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection, connection.begin():
            yield bool(connection.scalar(select(func.pg_try_advisory_xact_lock(TELLER_LOCK))))
    elif fcntl is None or not engine.url.database or engine.url.database == ":memory:":
        yield True
    else:
        folder = os.open(Path(engine.url.database).parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(folder)


def take_report(engine: Engine, run_id: int) -> bool:
    """Note that a run's end was told; False where that is noted already."""
    run = tables.ScheduleRun
    taken = update(run).where(run.id == run_id, run.reported_at.is_(None)).values(reported_at=now()).returning(run.id)
    with Session(engine) as session, session.begin():
        return session.scalar(taken) is not None


def scan_before(engine: Engine, scan_id: int) -> int | None:
    """The scan that the same schedule made before this one, of those that have ended."""
    run, scan = tables.ScheduleRun, tables.Scan
    mine = select(run.schedule_id).where(run.scan_id == scan_id).scalar_subquery()
    query = select(run.scan_id).join(scan, scan.id == run.scan_id)
    query = query.where(run.schedule_id == mine, run.scan_id < scan_id, scan.state == "done")
    with Session(engine) as session:
        return session.scalar(query.order_by(run.scan_id.desc()).limit(1))


def _get(session: Session, name: str) -> tables.Schedule:
    one = session.scalars(select(tables.Schedule).where(tables.Schedule.name == name)).first()
    if one is None:
        raise UsageError(f"there is no schedule {name!r}; see `auditor schedule list`")
    return one


def _record(one: tables.Schedule) -> Schedule:
    return Schedule(one.id, one.name, one.cron, tuple(one.command), one.enabled, one.changed_at)
