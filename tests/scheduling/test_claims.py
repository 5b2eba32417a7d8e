"""Claims of runs, on both databases: of two processes with a run one counts, whichever was slow."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.schedules import (
    Run,
    abandon_run,
    add_schedule,
    claim_run,
    end_run,
    find_schedule,
    last_run,
    reclaim_lost_runs,
    restart_run,
    runs_to_report,
)
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import ConflictError, UsageError
from auditor.records.schedules import Claim
from auditor.scheduling import due
from auditor.scheduling.due import LOST_AFTER, claim_run_now, run_schedule
from tests.factories.command import run
from tests.factories.databases import url  # noqa: F401
from tests.factories.records import REQUEST, entry, record

DUE = datetime(2026, 3, 29, 2, tzinfo=UTC)
GATES = ("scan", "demo", "--fail-under", "45%")


@pytest.fixture
def engine(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:  # noqa: F811
    monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
    settings.cache_clear()
    engine = open_database(url)
    add_schedule(engine, "nightly", "0 2 * * *", GATES)
    yield engine
    engine.dispose()


def claim(engine: Engine) -> Run:
    found = claim_run(engine, find_schedule(engine, "nightly"), DUE)
    assert found is not None
    return found


def make_old(engine: Engine) -> None:
    """As if all runs had been claimed longer ago than a run may take until it has a scan."""
    with Session(engine) as session, session.begin():
        one = tables.ScheduleRun
        for found in session.scalars(select(one)):
            found.started_at -= LOST_AFTER + timedelta(minutes=1)


def claim_twice(engine: Engine) -> tuple[Run, Run]:
    """The claim of a process that everybody takes for dead, and the next one."""
    first = claim(engine)
    make_old(engine)
    with Session(engine) as session:
        at = session.scalars(select(tables.ScheduleRun.started_at)).one()
    (second,) = reclaim_lost_runs(engine, LOST_AFTER)
    return Run(Claim(first.id, at), first.schedule, first.due_at), second


def make_scan(engine: Engine, claimed: Run) -> tuple[int, Any]:
    scan_id, (job,) = Store(engine).create_scan("demo", REQUEST, [entry()], claim=claimed.claim)
    return scan_id, job


def state(engine: Engine) -> tuple[str, int | None, str | None]:
    last = last_run(engine, find_schedule(engine, "nightly"))
    assert last is not None
    return last.state, last.scan, last.reason


def programs(monkeypatch: pytest.MonkeyPatch, play: Callable[[], tuple[int, list[str]]]) -> None:
    """Play the part of the commands of schedules."""
    monkeypatch.setattr(due, "_run", lambda *_: play())


@pytest.mark.parametrize("winner", [0, 1], ids=["first", "second"])
def test_the_process_without_the_scan_leaves_the_run_alone_and_the_end_is_told(
    winner: int, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = claim_twice(engine)
    scan_id, job = make_scan(engine, claims[winner])

    def lose() -> tuple[int, list[str]]:
        with pytest.raises(UsageError) as refused:
            make_scan(engine, claims[1 - winner])
        return 2, [f"error: {refused.value}"]

    programs(monkeypatch, lose)
    assert "has a scan already" in (run_schedule(engine, claims[1 - winner], local=True) or "")
    assert state(engine) == ("started", scan_id, None)
    assert runs_to_report(engine) == []
    store = Store(engine)
    store.finish(job.audit_id, store.claim(job.audit_id), record())
    programs(monkeypatch, lambda: (4, ["gate not met: demo:a: got 1 %", "error: 1 gate not met"]))
    assert run_schedule(engine, claims[winner], local=True) is None
    reason = "a gate was not met: demo:a: got 1 %"
    assert runs_to_report(engine) == [(claims[0].id, "nightly", scan_id, reason)]


def test_a_process_that_fails_late_does_not_end_the_run_of_the_next(engine: Engine) -> None:
    first, second = claim_twice(engine)
    end_run(engine, first.claim, "failed", "the database was away")
    assert state(engine) == ("started", None, None)
    end_run(engine, second.claim, "failed", "no such model")
    assert state(engine) == ("failed", None, "no such model")
    with pytest.raises(UsageError, match="has ended"):
        make_scan(engine, first)
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(tables.Scan)) == 0


def test_a_thread_that_starts_late_has_lost_its_run(engine: Engine) -> None:
    first, second = claim_twice(engine)
    assert restart_run(engine, first) is None
    mine = restart_run(engine, second)
    assert mine is not None
    end_run(engine, second.claim, "failed", "outdated")
    assert state(engine) == ("started", None, None)
    end_run(engine, mine.claim, "done")
    assert state(engine) == ("done", None, None)


def test_of_many_who_run_it_now_one_does(engine: Engine) -> None:
    for _ in range(5):  # the schedule is free again after each
        barrier = threading.Barrier(6)

        def click(_: int, barrier: threading.Barrier = barrier) -> Run | None:
            barrier.wait()
            with contextlib.suppress(ConflictError):
                return claim_run_now(engine, "nightly")
            return None

        with ThreadPoolExecutor(6) as pool:
            (mine,) = [one for one in pool.map(click, range(6)) if one is not None]
        end_run(engine, mine.claim, "done")
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(tables.ScheduleRun)) == 5


def test_a_schedule_is_not_run_now_while_any_of_its_runs_is_running(engine: Engine) -> None:
    now = claim_run_now(engine, "nightly")
    scan_id, job = make_scan(engine, now)
    end_run(engine, now.claim, "done")
    later = claim_run(engine, find_schedule(engine, "nightly"), now.due_at + timedelta(hours=1))
    end_run(engine, later.claim, "failed", "no such model")
    with pytest.raises(ConflictError, match=rf"schedule 'nightly' is running \(scan {scan_id}\); wait"):
        claim_run_now(engine, "nightly")
    Store(engine).finish(job.audit_id, Store(engine).claim(job.audit_id), record())
    assert claim_run_now(engine, "nightly").id not in (now.id, later.id)


def test_a_lost_run_is_taken_over_by_who_runs_it_now(engine: Engine) -> None:
    lost = claim(engine)
    make_old(engine)
    mine = claim_run_now(engine, "nightly")
    assert (mine.id, mine.due_at, mine.claim.at > lost.claim.at) == (lost.id, DUE, True)
    assert reclaim_lost_runs(engine, LOST_AFTER) == []


def test_the_command_line_refuses_to_run_what_is_running(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(monkeypatch, lambda: (0, []))
    scan_id, _ = make_scan(engine, claim(engine))
    refused = run("schedule", "run-now", "nightly", "--here")
    assert (refused.exit_code, refused.stdout) == (2, "")
    expected = f"error: schedule 'nightly' is running (scan {scan_id}); wait until it has ended"
    assert refused.stderr.splitlines() == [expected]
    with Session(engine) as session, session.begin():
        session.execute(update(tables.Scan).values(state="done"))
    assert run("schedule", "run-now", "nightly", "--here").exit_code == 0


def test_a_run_that_its_user_interrupts_can_be_run_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> tuple[int, list[str]]:
        raise KeyboardInterrupt

    programs(monkeypatch, interrupt)
    assert run("schedule", "run-now", "nightly", "--here").exit_code == 130
    assert state(engine) == ("failed", None, "interrupted")
    assert runs_to_report(engine) == []
    mine = claim_run_now(engine, "nightly")
    scan_id, _ = make_scan(engine, mine)
    abandon_run(engine, mine.claim)
    assert state(engine) == ("started", scan_id, None), "its scan may go on without the command"


@pytest.mark.parametrize("text", ["7", "x@2026-03-29", "7@then", "0@2026-03-29", "99999999999@2026-03-29"])
def test_a_claim_that_is_none(text: str) -> None:
    refused = run("scan", "demo", "--run", text)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith("Error: Invalid value for '--run': ")
