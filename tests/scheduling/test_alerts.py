"""Telling of scheduled scans that have ended: noted once told, tried again for a day, and in nobody's way."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from auditor.config import settings
from auditor.db.schedules import (
    add_schedule,
    claim_run,
    end_run,
    find_schedule,
    last_run,
    only_teller,
    runs_to_report,
)
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.scheduling import alerts as teller
from auditor.scheduling import due as schedules
from auditor.scheduling.alerts import FIRST_PAUSE, GIVE_UP, LONGEST_PAUSE, Alerts
from auditor.scheduling.loop import Beat
from tests.factories.records import REQUEST, entry, record
from tests.factories.services import postgresql
from tests.factories.webhook import Hook, Raw, hook, silent  # noqa: F401
from tests.workers.team import until

DUE = datetime(2026, 3, 29, 2, tzinfo=UTC)


class Clock:
    """A steady clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


def fail(engine: Engine, name: str, due: datetime = DUE) -> int:
    """A schedule whose run made no scan: there is something alarming to tell."""
    add_schedule(engine, name, "0 2 * * *", ("scan", "demo"), replace=True)
    run = claim_run(engine, find_schedule(engine, name), due)
    assert run is not None
    end_run(engine, run.claim, "failed", "no such model")
    return run.id


@pytest.mark.parametrize("gates", [(), ("--fail-under", "45%")])
def test_the_scan_of_a_killed_beat_is_told_at_once_unless_gates_are_to_be_checked(
    gates: tuple[str, ...], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_schedule(engine, "nightly", "0 2 * * *", ("scan", "demo", *gates))
    run = claim_run(engine, find_schedule(engine, "nightly"), DUE)
    store = Store(engine)
    scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()], claim=run.claim)
    assert runs_to_report(engine) == []
    store.finish(job.audit_id, store.claim(job.audit_id), record())
    told = [(run.id, "nightly", scan_id, None)]
    assert runs_to_report(engine) == ([] if gates else told)
    monkeypatch.setattr("auditor.db.schedules.COMMAND_SECONDS", -1.0)  # nobody will end this run
    assert runs_to_report(engine) == told


def use_webhook(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", url)
    monkeypatch.setenv("AUDITOR_WEBHOOK_PRIVATE", "true")
    settings.cache_clear()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the webhook was told; ``errors`` of the function in its place are raised first."""
    use_webhook(monkeypatch, "https://example.com/SECRET")
    heard: list[str] = []
    monkeypatch.setattr(teller, "post", lambda _, text, **__: heard.append(text))
    return heard


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, heard: list[str]) -> Callable[[], None]:
    """Let the webhook fail; the function mends it."""

    def post(_: str, text: str, **__: object) -> None:
        heard.append(text)
        raise error

    good = teller.post
    monkeypatch.setattr(teller, "post", post)
    return lambda: monkeypatch.setattr(teller, "post", good)


@pytest.mark.parametrize(
    "error",
    [
        UnicodeError("label empty or too long"), ValueError("x"), OSError("x"), RecursionError(), MemoryError(),
        KeyError("x"), EnvironmentUnusableError("the webhook refused"), UsageError("private"), TimeoutError(),
    ],
)  # fmt: skip
def test_no_failure_of_telling_ends_the_loop_or_loses_the_alert(
    error: Exception, engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    mend, clock = failing(monkeypatch, error, tries), Clock()
    fail(engine, "nightly")
    telling = Alerts(engine, clock)
    with caplog.at_level(logging.INFO):
        telling.send()
    assert (len(tries), told, len(runs_to_report(engine))) == (1, [], 1), "tried, and not noted as told"
    assert "SECRET" not in caplog.text
    assert "Traceback" not in caplog.text
    mend()
    telling.send()
    assert told == [], "the webhook is left alone for a while"
    clock.now += FIRST_PAUSE
    telling.send()
    telling.send()
    assert told == ["schedule nightly started no scan: no such model"]
    assert runs_to_report(engine) == []


@pytest.mark.long
def test_a_dead_webhook_is_tried_ever_more_rarely_and_given_up_after_a_day(
    engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    failing(monkeypatch, EnvironmentUnusableError("no"), tries)
    clock, run = Clock(), fail(engine, "nightly")
    telling, at = Alerts(engine, clock), []
    while runs_to_report(engine) and clock.now < 10 * GIVE_UP:
        before = len(tries)
        telling.send()
        at += [clock.now] * (len(tries) - before)
        clock.now += 60
    apart = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert apart[:4] == [60, 120, 240, 480]
    assert max(apart) <= LONGEST_PAUSE + 60
    assert len(tries) < GIVE_UP / LONGEST_PAUSE + 6
    assert clock.now < 100 + GIVE_UP + 2 * LONGEST_PAUSE
    assert (
        caplog.text.count(
            "the webhook did not accept this report within a day, it is dropped: schedule nightly started no scan"
        )
        == 1
    )
    assert caplog.text.count("nightly started no scan: no such model") == 2, "logged once, and when given up"
    telling.send()
    assert (runs_to_report(engine), run in telling.reports, told) == ([], False, [])


def test_an_alert_that_is_never_taken_holds_up_no_others(
    engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(_: str, text: str, **__: object) -> None:
        if "first" in text:
            raise EnvironmentUnusableError("too large")
        told.append(text)

    monkeypatch.setattr(teller, "post", post)
    clock = Clock()
    for name in ("first", "second", "third"):
        fail(engine, name)
    telling = Alerts(engine, clock)
    telling.send()
    assert told == []
    clock.now += FIRST_PAUSE
    telling.send()
    assert [text.split()[1] for text in told] == ["second", "third"]
    assert [name for _, name, _, _ in runs_to_report(engine)] == ["first"]


def test_what_was_told_and_could_not_be_noted_is_not_told_again(
    engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("the disk is full"))

    fail(engine, "nightly")
    telling, note = Alerts(engine, Clock()), teller.take_report
    monkeypatch.setattr(teller, "take_report", away)
    telling.send()
    telling.send()
    assert len(runs_to_report(engine)) == 1
    monkeypatch.setattr(teller, "take_report", note)
    telling.send()
    assert (len(told), runs_to_report(engine)) == (1, [])


@pytest.mark.parametrize("error", [ValueError("of the inside"), ZeroDivisionError(), UsageError("there is no scan 1")])
def test_a_scan_that_cannot_be_compared_is_told_as_that(
    error: Exception, engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(teller, "runs_to_report", lambda _: [(1, "nightly", 1, None)])
    monkeypatch.setattr(teller, "diff_scans", broken)
    Alerts(engine, Clock()).send()
    (text,) = told
    assert text.startswith("schedule nightly, scan 1 cannot be compared: ")


def test_an_end_that_is_not_alarming_waits_for_no_webhook(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_webhook(monkeypatch, "https://a..b/SECRET")
    fail(engine, "nightly")
    settings.cache_clear()
    monkeypatch.delenv("AUDITOR_WEBHOOK_URL")
    Alerts(engine, Clock()).send()
    assert runs_to_report(engine) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_beat_at_a_time_tells(kind: str, request: pytest.FixtureRequest, engine: Engine) -> None:
    if kind == "sqlite":
        first, second = engine, open_database(settings().database_url)
        _one_at_a_time(first, second)
    else:
        with postgresql(request.getfixturevalue("server")) as url:
            _one_at_a_time(open_database(url), open_database(url))


def _one_at_a_time(first: Engine, second: Engine) -> None:
    with only_teller(first) as mine:
        assert mine
        with only_teller(second) as others, only_teller(first) as again:
            assert (others, again) == (False, False)
    with only_teller(second) as others:
        assert others
    for engine in (first, second):
        engine.dispose()


def test_two_beats_tell_once(engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = teller.post

    def post(*given: object, **named: object) -> None:
        time.sleep(0.2)
        slow(*given, **named)

    monkeypatch.setattr(teller, "post", post)
    for name in ("a", "b", "c"):
        fail(engine, name)
    both = [threading.Thread(target=Alerts(engine).send) for _ in range(4)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    Alerts(engine).send()
    assert len(told) == 3


@pytest.mark.long
def test_a_beat_that_is_killed_while_it_tells_leaves_the_alert_to_the_next(
    engine: Engine,
    hook: Hook,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    receiver = Raw(silent)
    use_webhook(monkeypatch, receiver.url)
    fail(engine, "nightly")
    command = [sys.executable, "-P", "-m", "auditor", "beat", "--here"]
    with (tmp_path / "log").open("w") as log:
        with subprocess.Popen(command, stderr=log) as beat:
            until(lambda: receiver.connections, 60, "the first beat tells")
            beat.send_signal(signal.SIGKILL)
        assert len(runs_to_report(engine)) == 1
        with subprocess.Popen(command, stderr=log, env=os.environ | {"AUDITOR_WEBHOOK_URL": hook.url}) as beat:
            until(lambda: hook.heard, 60, "the second beat tells")
            until(lambda: not runs_to_report(engine), 10, "and notes it")
            beat.terminate()
            assert beat.wait(30) == 0
    assert hook.heard[0][1]["text"] == "schedule nightly started no scan: no such model"
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind", ["hangs", "a..b", "xn--"])
def test_due_times_go_on_while_a_webhook_is_told_or_cannot_be(
    kind: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    receiver = Raw(lambda _: told.wait(60))
    use_webhook(monkeypatch, receiver.url if kind == "hangs" else f"https://{kind}/SECRET")
    fail(engine, "alert")
    ticks: list[float] = []
    monkeypatch.setattr("auditor.scheduling.loop.run_due", lambda *_, **__: ticks.append(time.monotonic()))
    monkeypatch.setattr("auditor.scheduling.loop.until_next_minute", lambda: 0.05)
    beat = Beat(engine, local=True)
    threading.Thread(target=beat.run, daemon=True).start()
    if kind == "hangs":
        until(lambda: receiver.connections, 10)
    seen = len(ticks)
    until(lambda: len(ticks) > seen + 5, 10, "the clock is looked at meanwhile")
    assert len(runs_to_report(engine)) == 1
    beat.ended.set()
    told.set()
    for thread in threading.enumerate():
        if thread.name == "alerts":
            thread.join(60)  # later it would log into the output of another test


def test_an_error_of_what_is_due_ends_no_loop(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("of the inside")

    monkeypatch.setattr("auditor.scheduling.loop.run_due", broken)
    Beat(engine, local=True).beat()
    assert "cannot run due schedules: ValueError: of the inside" in caplog.text


def test_a_schedule_with_times_that_are_none_holds_up_no_others(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Written by an older or newer auditor, or by hand."""
    made = datetime.now(UTC) - timedelta(days=2)
    for name, cron in (("a", "99 99 * * *"), ("b", "0 2 * * *"), ("c", "")):
        add_schedule(engine, name, cron, ("scan", "demo"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schedules SET changed_at = ?", (made.isoformat(" ").partition("+")[0],))
    runs = list(schedules.take_due(engine, datetime.now(UTC)))
    assert [run.schedule.name for run in runs] == ["b"]
    assert last_run(engine, find_schedule(engine, "a")) is None
    assert "schedule a: " in caplog.text
