"""Waiting for a database that is away: again and again, for so long, and for nothing else."""

import logging
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    InternalError,
    NoResultFound,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.pool import NullPool

from auditor.db.retry import with_retries
from auditor.db.session import make_engine
from auditor.db.store import Store
from tests.factories.records import REQUEST, entry
from tests.factories.services import EMPTY, lent


def wrong(kind: type[Exception]) -> Exception:
    return kind("SELECT 1", {}, Exception("said the driver"))


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.slept = 0.0, []
        monkeypatch.setattr("time.sleep", self.sleep)
        monkeypatch.setattr("time.monotonic", lambda: self.at)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Works:
    """Fails with each of ``errors``, then works."""

    def __init__(self, patience: float, *errors: Exception) -> None:
        self.patience, self.errors, self.calls = patience, list(errors), 0

    @with_retries
    def work(self, number: int, *, more: int = 0) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return number + more


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
@pytest.mark.parametrize("failures", [0, 1, 2, 7])
def test_what_is_away_is_tried_until_it_works(clock: Clock, kind: type[Exception], failures: int) -> None:
    one = Works(600, *[wrong(kind) for _ in range(failures)])
    assert one.work(3, more=4) == 7
    assert one.calls == failures + 1
    assert clock.slept == [min(10, 0.25 * 2**number) for number in range(failures)]


@pytest.mark.parametrize("patience", [0.5, 5, 60, 600])
def test_it_gives_up_when_its_patience_is_over_and_not_before(clock: Clock, patience: float) -> None:
    errors = [wrong(OperationalError) for _ in range(1000)]
    last = list(errors)
    one = Works(patience, *errors)
    with pytest.raises(OperationalError) as caught:
        one.work(1)
    assert patience <= clock.at < patience + 10
    assert caught.value is last[one.calls - 1]


def test_no_patience_means_once(clock: Clock) -> None:
    one = Works(0, wrong(OperationalError))
    with pytest.raises(OperationalError):
        one.work(1)
    assert (one.calls, clock.slept) == (1, [])
    assert one.work(1) == 1


@pytest.mark.parametrize(
    "error",
    [
        wrong(IntegrityError), wrong(ProgrammingError), wrong(InternalError), NoResultFound(), ValueError("x"),
        KeyboardInterrupt(), SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_is_wrong_is_not_tried_again(clock: Clock, error: BaseException) -> None:
    one = Works(600, error)
    with pytest.raises(type(error)):
        one.work(1)
    assert (one.calls, clock.slept) == (1, [])


@pytest.mark.usefixtures("clock")
def test_it_says_in_one_line_what_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Works(600, OperationalError("SELECT 1", {}, Exception("no\nroute"))).work(1)
    assert [one.getMessage() for one in caplog.records] == ["waiting for the database: no"]


def _lock(url: str) -> Callable[[], None]:
    """Take the database from everybody else; gives how to return it."""
    engine = create_engine(url, poolclass=NullPool)
    connection = engine.connect()
    if engine.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
    else:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("LOCK TABLE audits IN ACCESS EXCLUSIVE MODE"))

    def release() -> None:
        connection.rollback()
        connection.close()

    return release


def test_a_claim_waits_for_a_real_database_that_is_locked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor.db.session import open_database

    first = open_database(url)
    _, (job,) = Store(first).create_scan("demo", REQUEST, [entry()])
    first.dispose()
    impatient = "?options=-c%20lock_timeout%3D100" if url.startswith("postgresql") else ""
    engine = make_engine(url + impatient)
    if not impatient:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 100")
    release = _lock(url)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            release()

    monkeypatch.setattr("auditor.db.retry.Retrying", _with_sleep(sleep))
    assert Store(engine, patience=60).claim(job.audit_id) == 1
    assert len(waits) == 2
    engine.dispose()


def test_a_claim_waits_for_a_server_that_takes_no_writes_and_connects_again(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("auditor.db.retry.Retrying", _with_sleep(waits.append))
    with lent(migrated, *EMPTY) as url:
        engine = make_engine(url)
        _, (job,) = Store(engine).create_scan("demo", REQUEST, [entry()])
        with engine.begin() as connection:  # as after a failover: this connection stays with a server that is read-only
            connection.execute(text("SET default_transaction_read_only = on"))
        assert Store(engine, patience=60).claim(job.audit_id) == 1
        engine.dispose()
    assert waits == [0.25]


def _with_sleep(sleep: Callable[[float], None]) -> Callable[..., object]:
    from tenacity import Retrying

    return lambda **options: Retrying(sleep=sleep, **options)
