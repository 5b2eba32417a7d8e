"""The store on SQLite in memory. What a transaction did to a state of the database is remembered and not repeated.

A transaction is a function of the database's contents, its arguments and the wall clock. Its first call on some contents
runs the project's code. Further calls on the same contents take its result and the contents that it left from a table,
because running it takes a hundred times as long. ``remember=False`` runs every call.
"""

import contextlib
import functools
import inspect
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from sqlalchemy import event

import auditor.db.scans
import auditor.jobs.lease
import auditor.jobs.reaper
from auditor.db import models as tables
from auditor.db.leases import Leases
from auditor.db.retry import with_retries
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.trainings import TrainingLeases, Trainings

START = datetime(2030, 1, 1, tzinfo=UTC)
JOB_TABLES = ("scans", "audits", "scan_audits", "attack_progress", "verdicts", "trainings")
ALL_TABLES = (*JOB_TABLES, "workers")
MOST_REMEMBERED = 300_000

READS = {
    Leases: ("running", "count_queued", "longest_unsent", "load_progress", "has_progress"),
    TrainingLeases: ("running", "longest_unsent"),
    Store: ("load_job", "find_done"),
    Trainings: ("load_job",),
    auditor.jobs.reaper: ("list_local_scans", "list_workers"),
}
"""Transactions that change nothing, so that the time does not matter."""
WRITES = {
    Leases: ("claim", "renew", "give_back", "cancelled", "expire", "mark_sent", "save_progress"),
    Store: ("finish", "fail", "cancel", "reuse"),
    Trainings: ("finish_adaptation", "fail", "cancel", "resume"),
    auditor.db.scans: ("cancel_scan", "retry_scan"),
    auditor.jobs.reaper: ("remove_worker",),
    auditor.jobs.lease: ("remove_worker", "report_worker"),
}
USE_WORKERS = {"list_local_scans", "list_workers", "remove_worker", "report_worker", "reuse"}
"""Transactions that read or write the table of workers. The key of all others leaves it out."""
ONLY_WORKERS = {"list_workers", "remove_worker", "report_worker"}
"""Of the other tables these use nothing, or only which jobs exist. ``list_workers`` also shows the workers' jobs, but the
reaper reads only names and times."""


@dataclass(frozen=True)
class Call:
    """A call of a transaction; ``subject``: the kind of job of leases, or the class of the method."""

    name: str
    subject: str
    arguments: tuple[Any, ...]


@dataclass
class Outcome:
    """What a call returned or raised, and the numbers of the contents that it left."""

    result: Any
    error: Exception | None
    jobs: int
    workers: int


@dataclass
class Contents:
    """The rows of some tables. ``ids`` is the number of the set of jobs that exist."""

    rows: tuple[tuple[tuple[Any, ...], ...], ...]
    ids: int = 0
    view: Any = None


class Database:
    """The database of a simulation.

    Args:
        examine: makes the view of new contents of the tables of jobs, and checks them.
        before, after: called before a transaction, and with its call and outcome after it.
    """

    def __init__(
        self, examine: Callable[["Database", Contents], Any], *, remember: bool = True
    ) -> None:
        self.engine = open_database("sqlite://")
        self.examine, self.remember = examine, remember
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[Call, Outcome], None] = lambda *_: None
        self.now: Callable[[], datetime] = lambda: START
        self.calls = self.executed = 0
        self.jobs, self.workers = 0, 0
        self._raw: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]
        self.columns = {
            name: [row[1] for row in self._raw.execute(f"PRAGMA table_info({name})")] for name in ALL_TABLES
        }
        self._inside = False
        event.listen(self.engine, "begin", self._check_inside)
        self.forget()

    def forget(self) -> None:
        """Forget all calls and contents; the database is empty afterwards."""
        self._calls: dict[Any, Outcome] = {}
        self._numbers: dict[Any, int] = {}
        self._contents: list[Contents] = []
        self._ids: dict[Any, int] = {}
        self._rows: dict[Any, Any] = {}
        self._stored: dict[str, Any] = {}
        self._restore(dict.fromkeys(ALL_TABLES, ()))
        self.jobs, self.workers = self._read()

    @property
    def contents(self) -> Contents:
        return self._contents[self.jobs]

    @property
    def is_full(self) -> bool:
        return len(self._calls) > MOST_REMEMBERED

    def return_to(self, jobs: int, workers: int) -> None:
        """Return to contents that were left by a call."""
        self.jobs, self.workers = jobs, workers

    def adopt(self, rows: dict[str, Any]) -> tuple[int, int]:
        """Write these rows of all tables; returns the numbers of the contents."""
        self._restore(rows)
        self.jobs, self.workers = self._read()
        return self.jobs, self.workers

    def all_rows(self) -> dict[str, Any]:
        """The rows of all tables now."""
        return dict(zip(JOB_TABLES, self.contents.rows, strict=True)) | {"workers": self._contents[self.workers].rows[0]}

    def run_directly(self, work: Callable[[], Any]) -> Any:
        """Run the project's code outside of any schedule; returns its result."""
        self._materialize()
        self._inside = True
        try:
            return work()
        finally:
            self._inside = False
            self.jobs, self.workers = self._read()

    def call(self, name: str, writes: bool, raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a transaction, or take what it does from the table."""
        if self._inside:
            return raw(*args, **kwargs)
        self.before()
        self.calls += 1
        subject = getattr(args[0], "kind", None) or type(args[0]).__name__
        call = Call(name, subject, tuple(map(_freeze, args[1:])) + tuple(kwargs.values()))
        parts = (self.contents.ids if name in ONLY_WORKERS else self.jobs, self.workers if name in USE_WORKERS else None)
        key = (name, subject, call.arguments, parts, self.now() if writes else None)
        outcome = self._calls.get(key)
        if outcome is None or not self.remember:
            outcome = self._execute(raw, args, kwargs)
            if not writes and (outcome.jobs, outcome.workers) != (self.jobs, self.workers):
                raise AssertionError(f"{name} is listed as reading, but changed the database")
            self._calls[key] = outcome
        if name not in ONLY_WORKERS:
            self.jobs = outcome.jobs
        if name in USE_WORKERS:
            self.workers = outcome.workers
        self.after(call, outcome)
        if outcome.error is not None:
            raise outcome.error.with_traceback(None)
        return outcome.result

    def _execute(self, raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome:
        self._materialize()
        self.executed += 1
        self._inside, result, error = True, None, None
        try:
            result = raw(*args, **kwargs)
        except Exception as raised:
            error = raised
        finally:
            self._inside = False
        return Outcome(result, error, *self._read())

    def _check_inside(self, _: Any) -> None:
        assert self._inside, "a transaction that tests/simulation/database.py does not list"

    def _materialize(self) -> None:
        """Write the current contents to the database."""
        self._restore(self.all_rows())

    def _restore(self, expected: dict[str, Any]) -> None:
        changed = [name for name in ALL_TABLES if self._stored.get(name) != expected[name]]
        if not changed:
            return
        connection = self._raw
        connection.execute("PRAGMA foreign_keys = OFF")
        for name in changed:
            connection.execute(f"DELETE FROM {name}")
            rows = expected[name]
            if rows:
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
            self._stored[name] = rows
        connection.commit()
        connection.execute("PRAGMA foreign_keys = ON")

    def _read(self) -> tuple[int, int]:
        """The numbers of what the database contains now."""
        rows = self._rows
        for name in ALL_TABLES:
            found = tuple(rows.setdefault(row, row) for row in self._raw.execute(f"SELECT * FROM {name} ORDER BY rowid"))
            self._stored[name] = rows.setdefault(found, found)
        jobs = self._number(tuple(self._stored[name] for name in JOB_TABLES), is_jobs=True)
        return jobs, self._number((self._stored["workers"],), is_jobs=False)

    def _number(self, rows: tuple[Any, ...], *, is_jobs: bool) -> int:
        number = self._numbers.get(rows)
        if number is None:
            number = self._numbers[rows] = len(self._contents)
            contents = Contents(rows)
            self._contents.append(contents)
            if is_jobs:
                ids = tuple(tuple(row[0] for row in rows[JOB_TABLES.index(name)]) for name in ("audits", "trainings"))
                contents.ids = self._ids.setdefault(ids, len(self._ids))
                inside, self._inside = self._inside, True
                contents.view = self.examine(self, contents)
                self._inside = inside
        return number


def _freeze(argument: Any) -> Any:
    """An argument as part of a key."""
    if isinstance(argument, list):
        return tuple(argument)
    if isinstance(argument, dict):
        return json.dumps(argument, sort_keys=True)
    return argument if argument.__hash__ is not None and not hasattr(argument, "verdicts") else _Same(argument)


class _Same:
    """Is equal to itself in a key, and holds what it stands for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


_current: Database | None = None


def _routed(owner: Any, name: str, writes: bool) -> Callable[..., Any]:
    """A transaction that calls the current database; retries stay outside."""
    whole = inspect.getattr_static(owner, name)
    raw = getattr(whole, "__wrapped__", whole)

    @functools.wraps(raw)
    def route(*args: Any, **kwargs: Any) -> Any:
        if _current is None:
            return raw(*args, **kwargs)
        return _current.call(name, writes, raw, args, kwargs)

    return with_retries(route) if whole is not raw else route


@contextlib.contextmanager
def routed(database: Database) -> Iterator[None]:
    """The project's transactions go to this database while the context lasts."""
    global _current

    class Wall:
        @staticmethod
        def now(_: Any) -> datetime:
            return database.now()

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch("auditor.db.completion.datetime", Wall))
        for table, writes in ((READS, False), (WRITES, True)):
            for owner, names in table.items():
                for name in names:
                    patches.enter_context(mock.patch.object(owner, name, _routed(owner, name, writes)))
        _current = database
        try:
            yield
        finally:
            _current = None
