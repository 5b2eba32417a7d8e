"""The store on SQLite in memory. What a transaction did is remembered, and not repeated where it would do the same.

A transaction is a function of what it reads, of its arguments and of the wall clock. SQLite tells which columns its
statements read and write (``set_authorizer``). The first call runs the project's code; what it returned and what it
changed are stored under its arguments, the wall clock, and the values of these columns in all rows. Further calls with
the same key take both from there, because running SQLAlchemy takes a hundred times as long. Of a transaction that
writes all times count from now: nothing in the protocol depends on the date. ``remember=False`` runs every call.
"""

import contextlib
import functools
import inspect
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from unittest import mock

from sqlalchemy import event

import auditor.db.scans
import auditor.jobs.heartbeat
import auditor.jobs.reaper
from auditor.db.leases import Lease, Leases
from auditor.db.retry import with_retries
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.trainings import TrainingLeases, Trainings
from auditor.db.workers import WorkerStatus

START = datetime(2030, 1, 1, tzinfo=UTC)
TABLES = ("scans", "audits", "scan_audits", "attack_progress", "verdicts", "trainings", "workers")
"""The tables that transactions change. The others stay as they were when the first schedule began."""
MOST_CONTENTS = 150_000
"""As many contents of the database are remembered; then they are forgotten, which the calls are not."""

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
    auditor.jobs.heartbeat: ("remove_worker", "report_worker"),
}
WRITING = {name for names in WRITES.values() for name in names}
OF_ONE_JOB = {"claim", "renew", "give_back"}
"""Transactions that use only the row of the job that is their first argument."""

Row = tuple[Any, ...]
Rows = tuple[tuple[Row, ...], ...]
"""The rows of each of ``TABLES``, in the order of their row numbers."""


class Call(NamedTuple):
    """A call of a transaction; ``subject``: the kind of job of leases, or the class of the method."""

    name: str
    subject: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Outcome:
    """What a call returned or raised, and what it changed.

    ``changes``: by the number of the table and the number of the row, the new row as a tuple, the changed columns of an
    old one as a dictionary, or None if it was deleted; times in microseconds from now.
    """

    result: Any
    error: Exception | None
    changes: dict[int, dict[Any, Any]]


@dataclass
class Footprint:
    """The columns that a transaction reads or writes: the numbers of tables with those of their columns.

    ``by_table`` says of each column whether it is a time.
    """

    number: int
    columns: set[tuple[int, int]] = field(default_factory=set)
    by_table: tuple[tuple[int, tuple[tuple[int, bool], ...]], ...] = ()


@dataclass
class Uses:
    """What a statement uses: the columns that it reads or writes, and the tables whose rows it may change."""

    columns: set[tuple[int, int]] = field(default_factory=set)
    written: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Contents:
    """What the tables contain; ``view`` is what the simulation reads from that."""

    rows: Rows
    view: Any


class Database:
    """The database of a simulation.

    Args:
        examine: makes the view of contents, see :class:`Contents`.
    """

    def __init__(self, examine: Callable[["Database", Rows], Any], *, remember: bool = True) -> None:
        self.engine = open_database("sqlite://")
        self.examine, self.remember = examine, remember
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[Call, Outcome], None] = lambda *_: None
        self.now: Callable[[], datetime] = lambda: START
        self.calls = self.executed = self.state = 0
        self._raw: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]
        self.columns = [self._columns(name) for name in TABLES]
        self._times = [self._time_columns(number) for number in range(len(TABLES))]
        self._keys = [self._key_columns(number) for number in range(len(TABLES))]
        self._parents = [self._raw.execute(f"PRAGMA foreign_key_list({name})").fetchall() for name in TABLES]
        self._inside = self._recording = False
        self._uses: dict[str, Uses] = {}
        self._noted = Uses()
        self._read_or_written: set[tuple[int, int]] = set()
        self._written: set[int] = set()
        event.listen(self.engine, "begin", self._check_inside)
        event.listen(self.engine, "before_cursor_execute", self._note_statement)
        self._stored: list[Any] = [None] * len(TABLES)
        self._footprints: dict[tuple[str, str], Footprint] = {}
        self.tally: Counter[str] = Counter()
        self._calls: dict[Any, Outcome] = {}
        self._projections: dict[Any, int] = {}
        self.forget_contents()

    def _columns(self, name: str) -> list[str]:
        """The columns of a table, the row number first; most tables have it as their primary key."""
        found = self._raw.execute(f"PRAGMA table_info({name})").fetchall()
        keys = [(row[1], row[2]) for row in found if row[5]]
        names = [row[1] for row in found]
        return names if keys == [(names[0], "INTEGER")] else ["rowid", *names]

    def _time_columns(self, number: int) -> frozenset[int]:
        kinds = {row[1]: row[2] for row in self._raw.execute(f"PRAGMA table_info({TABLES[number]})")}
        return frozenset(c for c, name in enumerate(self.columns[number]) if kinds.get(name) == "DATETIME")

    def _key_columns(self, number: int) -> set[int]:
        """The row number, the columns of unique indices, and foreign keys: they decide about new and deleted rows."""
        name, columns = TABLES[number], self.columns[number]
        unique = [row[1] for row in self._raw.execute(f"PRAGMA index_list({name})").fetchall() if row[2]]
        parts = {row[2] for index in unique for row in self._raw.execute(f"PRAGMA index_info({index})")}
        parts |= {row[3] for row in self._raw.execute(f"PRAGMA foreign_key_list({name})")}
        return {0, *(columns.index(part) for part in parts)}

    def forget_contents(self) -> None:
        """Forget all contents, but no call."""
        self._numbers: dict[Rows, int] = {}
        self._contents: list[Contents] = []
        self._projected: dict[Any, int] = {}
        self._same: dict[Any, Any] = {}
        self._results: dict[Any, Any] = {}

    @property
    def view(self) -> Any:
        return self._contents[self.state].view

    @property
    def rows(self) -> Rows:
        return self._contents[self.state].rows

    @property
    def is_full(self) -> bool:
        return len(self._contents) > MOST_CONTENTS

    def adopt(self, rows: Rows) -> int:
        """Let the tables contain these rows; returns the number of the contents."""
        self.state = self._number(rows)
        return self.state

    def run_directly(self, work: Callable[[], Any]) -> Rows:
        """Run the project's code on empty tables, outside of any schedule; returns the rows that it left."""
        self._write(((),) * len(TABLES))
        self._inside = True
        try:
            work()
        finally:
            self._inside = False
        return tuple(self._read(number) for number in range(len(TABLES)))

    def call(
        self, name: str, writes: bool, raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a transaction, or take from memory what it returns and changes."""
        if self._inside:
            return raw(*args, **kwargs)
        self.before(name)
        self.calls += 1
        if not writes and self.remember and name != "load_progress":
            return self._read_again(name, raw, args)
        return self._call(name, writes, raw, args, kwargs)

    def _read_again(self, name: str, raw: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """What a reading transaction returned of the same contents; it was checked the first time."""
        key = (self.state, name, args[0].__class__, args[1:])
        if key not in self._results:
            self._results[key] = self._call(name, False, raw, args, {})
        return self._results[key]

    def _call(
        self, name: str, writes: bool, raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        subject = getattr(args[0], "kind", None) or type(args[0]).__name__
        call = Call(name, subject, tuple([_freeze(one) for one in (*args[1:], *kwargs.values())]))
        footprint = self._footprints.get((name, subject)) or self._new_footprint(name, subject, set())
        at = self.now() if writes else None
        job = call.arguments[0] if name in OF_ONE_JOB else None
        given = call.arguments if at is None else tuple([_from(at, one) for one in call.arguments])
        outcome = self._calls.get((footprint.number, self._project(footprint, job, at), given))
        if outcome is None or not self.remember:
            outcome, columns = self._execute(raw, args, kwargs, at)
            if outcome.changes and not writes:
                raise AssertionError(f"{name} is listed as reading, but writes")
            if name == "list_workers":  # it also shows the workers' jobs, but the reaper reads only names and times
                columns = {(table, column) for table, column in columns if TABLES[table] == "workers"}
            if not columns <= footprint.columns:
                footprint = self._new_footprint(name, subject, columns | footprint.columns)
            if job is not None and any(set(rows) != {job} for rows in outcome.changes.values()):
                raise AssertionError(f"{call} is listed as of one job, but changed others")
            self._calls[footprint.number, self._project(footprint, job, at), given] = outcome
        if at is not None and outcome.changes:
            self.state = self._number(self._changed(outcome, at))
        if writes:
            self.tally[_told(call, outcome)] += 1
        self.after(call, outcome)
        if outcome.error is not None:
            raise outcome.error.with_traceback(None)
        return outcome.result

    def _new_footprint(self, name: str, subject: str, columns: set[tuple[int, int]]) -> Footprint:
        """A footprint with a number of its own, so that what was stored under a smaller one is not used."""
        number = 1 + max((one.number for one in self._footprints.values()), default=0)
        by_table = {table: tuple(sorted(c for t, c in columns if t == table)) for table, _ in sorted(columns)}
        parts = tuple(
            (table, tuple((column, column in self._times[table]) for column in found))
            for table, found in by_table.items()
        )
        made = self._footprints[name, subject] = Footprint(number, columns, parts)
        return made

    def _project(self, footprint: Footprint, job: Any, at: datetime | None) -> int:
        """The number of the values of a footprint's columns in the current contents, or in one job's row of them."""
        key = (footprint.number, self.state, job, at)
        found = self._projected.get(key)
        if found is None:
            rows = self.rows
            values = tuple(
                tuple(
                    [
                        tuple([_offset(at, row[column]) if is_time else row[column] for column, is_time in columns])
                        for row in rows[table]
                        if job is None or row[0] == job
                    ]
                )
                for table, columns in footprint.by_table
            )
            found = self._projected[key] = self._projections.setdefault(values, len(self._projections))
        return found

    def _changed(self, outcome: Outcome, at: datetime) -> Rows:
        """The current rows, changed as a call changed them."""
        rows = list(self.rows)
        for table, changes in outcome.changes.items():
            new, times = {row[0]: row for row in rows[table]}, self._times[table]
            for number, change in changes.items():
                if change is None:
                    del new[number]
                elif isinstance(change, dict):
                    row = list(new[number])
                    for column, value in change.items():
                        row[column] = _time(at, value) if column in times else value
                    new[number] = tuple(row)
                else:
                    new[number] = tuple([_time(at, value) if c in times else value for c, value in enumerate(change)])
            rows[table] = tuple([new[number] for number in sorted(new)])
        return tuple(rows)

    def _execute(
        self, raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], at: datetime | None
    ) -> tuple[Outcome, set[tuple[int, int]]]:
        """Run a transaction; returns its outcome and the columns that it read or wrote."""
        self._write(self.rows)
        self.executed += 1
        self._read_or_written, self._written = set(), set()
        self._inside, self._recording, result, error = True, True, None, None
        try:
            result = raw(*args, **kwargs)
        except Exception as raised:
            error = raised
        finally:
            self._inside = self._recording = False
        changes = {
            table: _difference(self.rows[table], self._read(table), self._times[table], at)
            for table in sorted(self._written)
        }
        made = {table: change for table, change in changes.items() if change}
        return Outcome(result, error, made), self._read_or_written

    def _note_statement(self, _: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        """A statement is about to run. SQLite tells what it uses by preparing it; that depends on its text alone."""
        if not self._recording:
            return
        uses = self._uses.get(statement)
        if uses is None:
            uses = self._noted = self._uses[statement] = Uses()
            self._raw.set_authorizer(self._note)
            try:
                self._raw.execute(f"EXPLAIN {statement}", parameters[0] if many else parameters).close()
            finally:
                self._raw.set_authorizer(None)
        self._read_or_written |= uses.columns
        self._written |= uses.written

    def _note(self, action: int, first: str | None, second: str | None, *_: Any) -> int:
        """SQLite's authorizer: a statement that is being prepared uses this table and column."""
        uses = self._noted
        if action == sqlite3.SQLITE_READ and first in TABLES:
            table = TABLES.index(first)
            names = self.columns[table]
            uses.columns.add((table, names.index(second) if second in names else 0))
        elif action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE):
            if first == "counters":  # metrics: no transaction of the protocol reads them
                return sqlite3.SQLITE_OK
            if first not in TABLES:  # a foreign key reaches into an empty table
                assert action != sqlite3.SQLITE_INSERT, f"a transaction writes {first}, see TABLES"
                return sqlite3.SQLITE_OK
            table = TABLES.index(first)
            uses.written.add(table)
            changed = (
                {self.columns[table].index(second or "")} if action == sqlite3.SQLITE_UPDATE else self._keys[table]
            )
            uses.columns |= {(table, column) for column in changed}
            self._note_relatives(uses, table, is_deleted=action == sqlite3.SQLITE_DELETE)
        return sqlite3.SQLITE_OK

    def _note_relatives(self, uses: "Uses", table: int, *, is_deleted: bool) -> None:
        """Foreign keys read the keys of parents, and a deleted row may change its children."""
        for parent in self._parents[table]:
            if parent[2] in TABLES:
                uses.columns.add((TABLES.index(parent[2]), 0))
        for child in range(len(TABLES)):
            if is_deleted and any(parent[2] == TABLES[table] for parent in self._parents[child]):
                uses.written.add(child)
                uses.columns |= {(child, column) for column in self._keys[child]}

    def _check_inside(self, _: Any) -> None:
        assert self._inside, "a transaction that tests/simulation/database.py does not list"

    def _write(self, rows: Rows) -> None:
        """Write these rows to SQLite."""
        changed = [number for number in range(len(TABLES)) if self._stored[number] != rows[number]]
        if not changed:
            return
        self._raw.execute("PRAGMA foreign_keys = OFF")
        for number in changed:
            names = self.columns[number]
            self._raw.execute(f"DELETE FROM {TABLES[number]}")
            into = f"INSERT INTO {TABLES[number]} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            self._raw.executemany(into, rows[number])
            self._stored[number] = rows[number]
        self._raw.commit()
        self._raw.execute("PRAGMA foreign_keys = ON")

    def _read(self, number: int) -> tuple[Row, ...]:
        """The rows of a table in SQLite."""
        query = f"SELECT {', '.join(self.columns[number])} FROM {TABLES[number]} ORDER BY rowid"
        found = tuple(self._raw.execute(query).fetchall())
        self._stored[number] = found
        return found

    def _number(self, rows: Rows) -> int:
        number = self._numbers.get(rows)
        if number is None:
            same = self._same  # equal rows are one object
            rows = tuple([same.setdefault(one, one) for one in rows])
            number = self._numbers[rows] = len(self._contents)
            self._contents.append(Contents(rows, self.examine(self, rows)))
        return number


@functools.lru_cache(100_000)
def _offset(at: datetime | None, value: str | None) -> Any:
    """A stored time in microseconds from ``at``; without ``at`` as it is."""
    if at is None or value is None:
        return value
    return (datetime.fromisoformat(value).replace(tzinfo=UTC) - at) // timedelta(microseconds=1)


@functools.lru_cache(100_000)
def _time(at: datetime, offset: int | None) -> str | None:
    """The stored time that is so many microseconds from ``at``."""
    return None if offset is None else (at + timedelta(microseconds=offset)).strftime("%Y-%m-%d %H:%M:%S.%f")


def _from(at: datetime, argument: Any) -> Any:
    """An argument with its time from ``at``."""
    if isinstance(argument, WorkerStatus):
        return tuple(value - at if isinstance(value, datetime) else value for value in argument.__dict__.values())
    if isinstance(argument, Lease) and argument.until is not None:
        return (argument.job_id, argument.attempt, argument.until - at, argument.worker, argument.seconds)
    return argument


def _difference(
    old: tuple[Row, ...], new: tuple[Row, ...], times: frozenset[int], at: datetime | None
) -> dict[Any, Any]:
    """The changed rows of a table, as :attr:`Outcome.changes` has them."""
    before, after = {row[0]: row for row in old}, {row[0]: row for row in new}
    changes: dict[Any, Any] = dict.fromkeys(before.keys() - after.keys())
    for number, row in after.items():
        if number not in before:
            changes[number] = tuple(_offset(at, value) if c in times else value for c, value in enumerate(row))
        elif row != before[number]:
            changed = {c: value for c, value in enumerate(row) if value != before[number][c]}
            changes[number] = {c: _offset(at, value) if c in times else value for c, value in changed.items()}
    return changes


def _told(call: Call, outcome: Outcome) -> str:
    """A call and what it returned, in a few words."""
    result = outcome.result
    if outcome.error is not None:
        return f"{call.name}: {type(outcome.error).__name__}"
    if call.name == "claim":
        return f"claim: {'refused' if result is None else 'claimed'}"
    return f"{call.name}: {result}" if isinstance(result, str | bool) or result is None else call.name


def _freeze(argument: Any) -> Any:
    """An argument as part of a key."""
    if type(argument) in _PLAIN:
        return argument
    if isinstance(argument, list):
        return tuple(argument)
    if isinstance(argument, dict):
        return json.dumps(argument, sort_keys=True)
    return argument if argument.__hash__ is not None and not hasattr(argument, "verdicts") else _Same(argument)


_PLAIN = {int, str, float, bytes, bool, type(None), Lease}


class _Same:
    """Is equal to itself in a key, and holds what it stands for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return type(self.value).__name__


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


class _Wall:
    """In place of the class ``datetime`` where the project reads the wall clock."""

    @staticmethod
    def now(_: Any) -> datetime:
        return START if _current is None else _current.now()


def routes() -> list[Any]:
    """Patches by which the project's transactions and wall clock go to the current database."""
    patches: list[Any] = [mock.patch("auditor.db.ending.datetime", _Wall)]
    for table, writes in ((READS, False), (WRITES, True)):
        for owner, names in table.items():
            patches += [mock.patch.object(owner, name, _routed(owner, name, writes)) for name in names]
    return patches


@contextlib.contextmanager
def current(database: Database) -> Iterator[None]:
    """Transactions go to this database while the context lasts."""
    global _current
    before, _current = _current, database
    try:
        yield
    finally:
        _current = before
