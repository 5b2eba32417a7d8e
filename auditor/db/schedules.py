"""Schedules and their runs: each due time of a schedule is claimed once, however many processes watch the clock."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, func, select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import inserting
from auditor.db.ending import now
from auditor.db.session import begin_writing
from auditor.errors import ConflictError, NotFoundError, UsageError
from auditor.records.schedules import Claim, LastRun, needs_results

try:
    import fcntl
except ImportError:  # not on Windows: there several beats may report the same run
    fcntl = None  # type: ignore[assignment]

COMMAND_SECONDS = 120.0
"""A command whose scan ended longer ago is gone: it takes seconds to check gates and to write files."""
TELLER_LOCK = 0x617564_7465_6C6C
"""The number of the advisory lock on PostgreSQL; any unused number."""


@dataclass(frozen=True)
class Schedule:
    """A schedule as it is now.

    ``command`` are the words after ``auditor``; None if the stored value is no list of words.
    """

    id: int
    name: str
    cron: str
    command: tuple[str, ...] | None
    enabled: bool
    changed_at: datetime


@dataclass(frozen=True)
class Run:
    """A due time that this process has claimed, by ``claim``."""

    claim: Claim
    schedule: Schedule
    due_at: datetime

    @property
    def id(self) -> int:
        return self.claim.run_id


def add_schedule(engine: Engine, name: str, cron: str, command: Sequence[str], *, replace: bool = False) -> None:
    """Add a schedule. Raises ConflictError if the name is taken and ``replace`` is not set."""
    with Session(engine) as session, session.begin():
        one = session.scalars(select(tables.Schedule).where(tables.Schedule.name == name)).first()
        if one is None:
            session.add(tables.Schedule(name=name, cron=cron, command=list(command), enabled=True, changed_at=now()))
        elif replace:
            one.cron, one.command, one.changed_at = cron, list(command), now()
        else:
            raise ConflictError(f"a schedule {name!r} exists already: remove it first, or use --replace")


def remove_schedule(engine: Engine, name: str) -> None:
    """Remove a schedule and its runs; their scans stay. Raises NotFoundError if it does not exist."""
    with Session(engine) as session, session.begin():
        session.execute(delete(tables.Schedule).where(tables.Schedule.id == _get(session, name).id))


def enable_schedule(engine: Engine, name: str, enabled: bool) -> None:
    """Turn a schedule on or off; due times while it is off are skipped. Raises NotFoundError if it does not exist."""
    with Session(engine) as session, session.begin():
        one = _get(session, name)
        if one.enabled != enabled:
            one.enabled, one.changed_at = enabled, now()


def find_schedule(engine: Engine, name: str) -> Schedule:
    """Raises NotFoundError if the schedule does not exist."""
    with Session(engine) as session:
        return _record(_get(session, name))


def all_schedules(engine: Engine) -> list[Schedule]:
    with Session(engine) as session:
        return [_record(one) for one in session.scalars(select(tables.Schedule).order_by(tables.Schedule.name))]


def last_run(engine: Engine, schedule: Schedule) -> LastRun | None:
    """The newest run of a schedule, with the state of its scan."""
    return next(iter(list_runs(engine, schedule.id, limit=1)), None)


def list_runs(engine: Engine, schedule_id: int, *, limit: int) -> list[LastRun]:
    """The runs of a schedule, the newest first, with the states of their scans."""
    run, scan = tables.ScheduleRun, tables.Scan
    query = select(run, scan.state).outerjoin(scan, scan.id == run.scan_id).where(run.schedule_id == schedule_id)
    with Session(engine) as session:
        found = session.execute(query.order_by(run.due_at.desc()).limit(limit))
        return [_run_record(one, state) for one, state in found]


def last_runs(engine: Engine) -> dict[int, LastRun]:
    """The newest run of each schedule, by the schedule's id, in one query."""
    run, scan = tables.ScheduleRun, tables.Scan
    newest = select(run.schedule_id, func.max(run.due_at).label("due_at")).group_by(run.schedule_id).subquery()
    query = select(run, scan.state).outerjoin(scan, scan.id == run.scan_id)
    query = query.join(newest, (newest.c.schedule_id == run.schedule_id) & (newest.c.due_at == run.due_at))
    with Session(engine) as session:
        return {one.schedule_id: _run_record(one, state) for one, state in session.execute(query)}


def claim_run(engine: Engine, schedule: Schedule, due_at: datetime, *, skipped: str | None = None) -> Run | None:
    """Claim a due time; None if it was claimed before, or the schedule has changed since it was read.

    ``skipped``: the reason why this run is skipped.
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
    return None if number is None or skipped else Run(Claim(number, now_), schedule, due_at)


def claim_run_now(engine: Engine, schedule: Schedule, patience: timedelta) -> Run:
    """Claim a run for this moment; one that got no scan within ``patience`` is taken over instead of beginning another.

    Raises:
        ConflictError: a run of the schedule has not ended, or the schedule has changed since it was read.
    """
    run, scan = tables.ScheduleRun, tables.Scan
    running = (scan.state == "running") | ((run.state == "started") & run.scan_id.is_(None))
    query = select(run).outerjoin(scan, scan.id == run.scan_id).where(run.schedule_id == schedule.id, running)
    with Session(engine) as session, session.begin():
        begin_writing(session)  # of two callers at once, the second finds the run of the first
        locked = select(tables.Schedule).where(tables.Schedule.id == schedule.id).with_for_update()
        current = session.scalars(locked).first()
        if current is None or _record(current) != schedule:
            raise ConflictError(f"schedule {schedule.name!r} was changed by another process; try again")
        at, lost = now(), None
        for one in session.scalars(query.order_by(run.due_at).with_for_update(of=run)):
            if one.scan_id is not None or one.started_at >= at - patience:
                place = f"scan {one.scan_id}" if one.scan_id else f"the run of {one.due_at:%Y-%m-%d %H:%M} UTC"
                raise ConflictError(f"schedule {schedule.name!r} is running ({place}); wait until it has ended")
            lost = one
        mine = lost or run(schedule_id=schedule.id, due_at=at, state="started")
        mine.started_at = at
        session.add(mine)
        session.flush()
        return Run(Claim(mine.id, at), schedule, mine.due_at)


def restart_run(engine: Engine, claimed: Run) -> Run | None:
    """Claim a claimed run again, because it starts only now; None if another process has taken it over or ended it."""
    run, at = tables.ScheduleRun, now()
    waiting = update(run).where(*_held(claimed.claim), run.scan_id.is_(None))
    with Session(engine) as session, session.begin():
        found = session.scalar(waiting.values(started_at=at).returning(run.id))
    return None if found is None else replace(claimed, claim=Claim(found, at))


def reclaim_lost_runs(engine: Engine, patience: timedelta) -> list[Run]:
    """Claim runs again that were claimed, but got no scan within ``patience``: their process is gone."""
    run, at = tables.ScheduleRun, now()
    lost = (run.state == "started", run.scan_id.is_(None), run.started_at < at - patience)
    with Session(engine) as session, session.begin():
        taken = session.execute(update(run).where(*lost).values(started_at=at).returning(run.id)).scalars().all()
        found = select(run, tables.Schedule).join(tables.Schedule).where(run.id.in_(taken))
        return [Run(Claim(one.id, at), _record(schedule), one.due_at) for one, schedule in session.execute(found)]


def attach_scan(session: Session, claim: Claim, scan_id: int) -> None:
    """Record the scan of a run, in the transaction that creates the scan. A run has one scan at most.

    Of several claims the one that makes the scan is the current one from now on. If only the latest could make it, a
    scan whose planning takes longer than it takes to reclaim its run would never be made.

    Raises:
        UsageError: the run has a scan already, has ended, or does not exist.
    """
    run = tables.ScheduleRun
    waiting = update(run).where(run.id == claim.run_id, run.state == "started", run.scan_id.is_(None))
    if session.scalar(waiting.values(scan_id=scan_id, started_at=claim.at).returning(run.id)) is None:
        raise UsageError(f"run {claim.run_id} of a schedule has a scan already, has ended, or does not exist")


def end_run(engine: Engine, claim: Claim, state: str, reason: str | None = None) -> None:
    """Set the final state of a started run; another process's run is left alone."""
    with Session(engine) as session, session.begin():
        session.execute(update(tables.ScheduleRun).where(*_held(claim)).values(state=state, reason=reason))


def abandon_run(engine: Engine, claim: Claim) -> None:
    """End a run that its user interrupted before it had a scan. It is not reported, because the user knows."""
    waiting = update(tables.ScheduleRun).where(*_held(claim), tables.ScheduleRun.scan_id.is_(None))
    with Session(engine) as session, session.begin():
        session.execute(waiting.values(state="failed", reason="interrupted", reported_at=now()))


def scan_of_run(engine: Engine, run_id: int) -> int | None:
    """The scan that a run became; None if it has none."""
    with Session(engine) as session:
        return session.scalar(select(tables.ScheduleRun.scan_id).where(tables.ScheduleRun.id == run_id))


def _held(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Whether a claim is the current one of a run that has not ended."""
    run = tables.ScheduleRun
    return (run.id == claim.run_id, run.state == "started", run.started_at == claim.at)


def runs_to_report(engine: Engine) -> list[tuple[int, str, int | None, str | None]]:
    """Ended runs, with ended scans, that were not reported yet: id, schedule, scan, reason.

    A command with gates ends after its scan. If its process is gone, the scan is reported without them.
    """
    run, scan, schedule = tables.ScheduleRun, tables.Scan, tables.Schedule
    late = now() - timedelta(seconds=COMMAND_SECONDS)
    settled = (run.state != "started") | (scan.finished_at < late)
    query = select(run, schedule, settled.label("settled"))
    query = query.join(schedule).outerjoin(scan, scan.id == run.scan_id).where(run.reported_at.is_(None))
    ended = (run.state == "failed") | scan.state.in_(("done", "interrupted"))
    with Session(engine) as session:
        return [
            (one.id, plan.name, one.scan_id, one.reason)
            for one, plan, is_settled in session.execute(query.where(ended).order_by(run.id))
            if is_settled or not needs_results(_record(plan).command or ())
        ]


@contextlib.contextmanager
def only_teller(engine: Engine) -> Iterator[bool]:
    """Whether this process is the one that reports ended runs, within the context.

    The lock is an advisory lock of PostgreSQL, or a lock on the folder of an SQLite file. It ends with its process.
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
    """Mark a run as reported; False if it was marked before."""
    run = tables.ScheduleRun
    taken = update(run).where(run.id == run_id, run.reported_at.is_(None)).values(reported_at=now()).returning(run.id)
    with Session(engine) as session, session.begin():
        return session.scalar(taken) is not None


def scan_before(engine: Engine, scan_id: int) -> int | None:
    """The last ended scan of the same schedule before this one."""
    run, scan = tables.ScheduleRun, tables.Scan
    mine = select(run.schedule_id).where(run.scan_id == scan_id).scalar_subquery()
    query = select(run.scan_id).join(scan, scan.id == run.scan_id)
    query = query.where(run.schedule_id == mine, run.scan_id < scan_id, scan.state == "done")
    with Session(engine) as session:
        return session.scalar(query.order_by(run.scan_id.desc()).limit(1))


def _get(session: Session, name: str) -> tables.Schedule:
    one = session.scalars(select(tables.Schedule).where(tables.Schedule.name == name)).first()
    if one is None:
        raise NotFoundError(f"there is no schedule {name!r}; see `auditor schedule list`")
    return one


def _record(one: tables.Schedule) -> Schedule:
    stored: Any = one.command  # a person may have changed it
    readable = isinstance(stored, list) and all(isinstance(word, str) for word in stored)
    return Schedule(one.id, one.name, one.cron, tuple(stored) if readable else None, one.enabled, one.changed_at)


def _run_record(run: tables.ScheduleRun, scan_state: str | None) -> LastRun:
    return LastRun(due_at=run.due_at, state=run.state, reason=run.reason, scan=run.scan_id, scan_state=scan_state)
