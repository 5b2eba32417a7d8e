"""Schedules: each due time once, whoever looks, whenever; late ones once or not at all."""

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.schedules import (
    Run,
    Schedule,
    add_schedule,
    all_schedules,
    enable_schedule,
    end_run,
    find_schedule,
    last_run,
    remove_schedule,
    runs_to_report,
    scan_before,
    take_report,
)
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.scheduling import due as schedules
from auditor.scheduling.due import check_command, check_cron, last_due, next_due, run_schedule, take_due
from tests.factories.command import run
from tests.factories.records import REQUEST, entry, record
from tests.workers.team import until

MADE = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
COMMAND = ("scan", "demo", "--protocol", "screen", "--limit", "1")


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


def add(engine: Engine, cron: str = "0 2 * * *", name: str = "nightly", made: datetime = MADE) -> Schedule:
    add_schedule(engine, name, cron, COMMAND, replace=True)
    with Session(engine) as session, session.begin():
        session.execute(update(tables.Schedule).where(tables.Schedule.name == name).values(changed_at=made))
    return find_schedule(engine, name)


def at(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "now", "due"),
    [
        ("0 2 * * *", "2026-03-29T01:59:59", None),
        ("0 2 * * *", "2026-03-29T02:00:00", "2026-03-29T02:00"),
        ("0 2 * * *", "2026-03-29T23:59:00", "2026-03-29T02:00"),
        ("0 2 * * *", "2026-03-30T01:59:00", "2026-03-29T02:00"),
        ("30 2 * * *", "2026-03-29T02:30:59", "2026-03-29T02:30"),  # an hour that many clocks skip that night
        ("30 2 * * *", "2026-10-25T02:30:00", "2026-10-25T02:30"),  # and one that they have twice
        ("*/15 * * * *", "2026-03-28T12:20:00", "2026-03-28T12:15"),
        ("0 2 * * 1", "2026-03-29T12:00:00", None),
        ("0 2 * * 1", "2026-03-31T12:00:00", "2026-03-30T02:00"),
        ("0 0 29 2 *", "2028-03-01T00:00:00", "2028-02-29T00:00"),
    ],
)
def test_the_last_due_time_in_utc(engine: Engine, cron: str, now: str, due: str | None) -> None:
    assert last_due(add(engine, cron), at(now)) == (None if due is None else at(due))


def test_the_next_due_time() -> None:
    assert next_due("0 2 * * *", at("2026-03-29T02:00:00")) == at("2026-03-30T02:00")


def test_a_due_time_is_taken_once_by_two_beats_at_once(engine: Engine) -> None:
    add(engine)
    now = at("2026-03-29T02:00:10")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: list(take_due(engine, now)), range(16)))
    assert sum(len(runs) for runs in taken) == 1
    assert list(take_due(engine, now + timedelta(hours=3))) == []
    (tomorrow,) = take_due(engine, now + timedelta(days=1))
    assert tomorrow.due_at == at("2026-03-30T02:00")


@pytest.mark.parametrize(("hours", "fate"), [(0.1, "started"), (23.9, "started"), (24.1, "skipped"), (100, "skipped")])
def test_late_by_less_than_a_day_runs_once_and_later_is_skipped_and_said(
    engine: Engine, hours: float, fate: str
) -> None:
    schedule = add(engine, "0 2 29 3 *")
    now = at("2026-03-29T02:00") + timedelta(hours=hours)
    runs = [one for _ in range(3) for one in take_due(engine, now)]
    assert len(runs) == (fate == "started")
    last = last_run(engine, schedule)
    assert (last.state, last.due_at) == (fate, at("2026-03-29T02:00"))
    assert (last.reason or "").startswith("late by" if fate == "skipped" else "")


def test_a_week_away_is_made_up_for_by_one_run(engine: Engine) -> None:
    add(engine)
    runs = [one for _ in range(3) for one in take_due(engine, at("2026-04-05T10:00"))]
    assert [one.due_at for one in runs] == [at("2026-04-05T02:00")]


def test_a_clock_that_is_set_back_runs_nothing_twice_and_set_forward_nothing_is_lost(engine: Engine) -> None:
    add(engine, "0 * * * *")
    times = ["02:00", "02:59", "03:01", "02:01", "02:30", "03:00", "04:00", "03:59", "04:01", "05:00"]
    taken = [one.due_at.hour for time in times for one in take_due(engine, at(f"2026-03-29T{time}"))]
    assert taken == [2, 3, 4, 5]


def test_a_schedule_changed_while_it_is_due_runs_as_it_is_now(engine: Engine) -> None:
    read = add(engine)
    add_schedule(engine, "nightly", "0 2 * * *", ("scan", "timm"), replace=True)  # from now on: not due in the past
    assert schedules.claim_run(engine, read, at("2026-03-29T02:00")) is None, "what was read is out of date"
    assert list(take_due(engine, at("2026-03-29T02:01"))) == []
    changed = add(engine)
    (one,) = take_due(engine, at("2026-03-29T02:01"))
    assert one.schedule == changed


def test_disabled_is_not_run_and_not_made_up_for(engine: Engine) -> None:
    add(engine)
    enable_schedule(engine, "nightly", enabled=False)
    assert list(take_due(engine, at("2026-03-29T02:00"))) == []
    enable_schedule(engine, "nightly", enabled=True)
    assert list(take_due(engine, at("2026-03-29T02:00"))) == []
    assert find_schedule(engine, "nightly").changed_at > at("2026-03-29T02:00")


def test_a_run_whose_beat_was_killed_before_its_scan_is_taken_over_once(engine: Engine) -> None:
    schedule = add(engine)
    (lost,) = take_due(engine, at("2026-03-29T02:00"))
    assert list(take_due(engine, at("2026-03-29T02:01"))) == []
    with Session(engine) as session, session.begin():
        session.execute(update(tables.ScheduleRun).values(started_at=datetime.now(UTC) - timedelta(minutes=11)))
    with ThreadPoolExecutor(4) as pool:
        again = [
            one for runs in pool.map(lambda _: list(take_due(engine, at("2026-03-29T02:12"))), range(8)) for one in runs
        ]
    (found,) = again
    assert found == Run(found.claim, schedule, lost.due_at)
    assert (found.id, found.claim.at > lost.claim.at) == (lost.id, True)


def test_a_run_becomes_one_scan_whoever_makes_it(engine: Engine) -> None:
    add(engine)
    (one,) = take_due(engine, at("2026-03-29T02:00"))
    store = Store(engine)
    scan_id, _ = store.create_scan("demo", REQUEST, [entry()], claim=one.claim)
    with pytest.raises(UsageError, match="has a scan already"):
        store.create_scan("demo", REQUEST, [entry()], claim=one.claim)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM scans")) == 1
    assert last_run(engine, one.schedule).scan == scan_id


def test_the_end_of_a_scan_is_told_once_beside_the_scan_before(engine: Engine) -> None:
    add(engine, "0 * * * *")
    store, scans = Store(engine), []
    for hour in (2, 3):
        (one,) = take_due(engine, at(f"2026-03-29T0{hour}:00"))
        scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()], claim=one.claim)
        end_run(engine, one.claim, "done")
        assert runs_to_report(engine) == [] or hour == 3
        store.finish(job.audit_id, store.claim(job.audit_id), record(identity=str(hour)))
        scans.append(scan_id)
    told = runs_to_report(engine)
    assert [scan for _, _, scan, _ in told] == scans
    assert [take_report(engine, told[0][0]) for _ in range(2)] == [True, False]
    assert [scan for _, _, scan, _ in runs_to_report(engine)] == scans[1:]
    assert (scan_before(engine, scans[0]), scan_before(engine, scans[1])) == (None, scans[0])


BAD_CRON = (
    "",
    "61 * * * *",
    "* * * *",
    "every night",
    "0 2 30 2 *x",
    "@daily now",
    "9" * 5000 + " * * * *",
    "0 0 30 2 *",
)


@pytest.mark.parametrize("cron", BAD_CRON, ids=lambda cron: cron[:20])
def test_times_that_are_none(cron: str) -> None:
    with pytest.raises(UsageError, match="expected five fields such as") as caught:
        check_cron(cron)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("cron", BAD_CRON, ids=lambda cron: cron[:20])
def test_a_stored_schedule_that_cannot_be_read_is_shown_and_the_others_run(
    engine: Engine, cron: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(engine, "0 2 * * *", name="after")
    add(engine, cron, name="bad")
    add(engine, "0 2 * * *", name="before")
    taken = [one.schedule.name for one in take_due(engine, at("2026-03-29T02:00"))]
    assert taken == ["after", "before"]
    (line,) = caplog.records
    assert "schedule bad: the cron expression has no due times: " in line.getMessage()
    assert len(line.getMessage().splitlines()) == 1
    rows = {row["schedule"]: row for row in json.loads(run("schedule", "list", "--format", "json").stdout)}
    assert rows["bad"]["problem"].startswith("the cron expression has no due times: ")
    assert (rows["bad"]["cron"], rows["bad"]["next_due_at"]) == (cron, None)
    assert rows["after"]["problem"] is None
    assert rows["after"]["next_due_at"] is not None
    table = run("schedule", "list")
    assert (table.exit_code, table.stderr) == (0, "")
    assert "no due times" in " ".join(table.stdout.split())
    for command in ("disable", "enable", "remove"):
        assert run("schedule", command, "bad").exit_code == 0


@pytest.mark.parametrize("command", ["null", "7", '"scan"', '{"a": 1}', "[1, 2]"])
def test_a_stored_command_that_cannot_be_read_is_shown_and_the_others_run(engine: Engine, command: str) -> None:
    for name in ("after", "bad", "before"):
        add(engine, "0 2 * * *", name=name)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE schedules SET command = '{command}' WHERE name = 'bad'"))
    taken = [one.schedule.name for one in take_due(engine, at("2026-03-29T02:00"))]
    assert taken == ["after", "before"]
    rows = {row["schedule"]: row for row in json.loads(run("schedule", "list", "--format", "json").stdout)}
    assert rows["bad"]["problem"].startswith("the stored command is not a list of words")
    assert rows["after"]["problem"] is None
    assert run("schedule", "list").exit_code == 0
    refused = run("schedule", "run-now", "bad", "--here")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert run("schedule", "remove", "bad").exit_code == 0


@pytest.mark.parametrize(
    "words", [(), ("zoo", "list"), ("scan", "demo", "--queue"), ("scan", "demo", "--wait"), ("rm",)]
)
def test_commands_that_cannot_be_scheduled(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        check_command(words)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("scan", "dem"), "got 'dem'; did you mean demo?"),
        (("scan", "demo", "--reverfy", "2"), "no such option '--reverfy'"),
        (("scan", "demo", "--samples", "many"), "--samples"),
        (("scan", "demo", "--match", "zzz*"), "match none of"),
        (("scan", "demo", "--model", "no-such"), "no model named 'no-such'"),
        (("scan", "demo", "--help"), "--help"),
        (("scan", "demo", "--protocol", "screen", "--triage", "0.2"), "--triage has no meaning"),
        (("scan", "demo", "--protocol", "screen", "--fail-under", "45%"), "--fail-under has no meaning"),
        (("scan", "demo", "--protocol", "screen", "--save-adversarials", "x"), "--save-adversarials has no meaning"),
    ],
)
def test_scans_that_cannot_run_are_not_added(engine: Engine, words: tuple[str, ...], reason: str) -> None:
    refused = run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", *words)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert reason in refused.stderr
    assert all_schedules(engine) == []


@pytest.mark.usefixtures("engine")
def test_gates_on_a_curve_can_be_scheduled() -> None:
    gate = ("--fail-under-at", "60%@0.05")
    refused = run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo", *gate)
    assert (refused.exit_code, "need --curve" in refused.stderr) == (2, True)
    added = run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo", "--curve", *gate)
    assert added.exit_code == 0, added.stderr


def test_folders_may_be_on_the_machine_of_the_beat_alone(engine: Engine) -> None:
    added = run("schedule", "add", "ours", "--cron", "0 2 * * *", "--", "scan", "local", "/on/another/machine")
    assert added.exit_code == 0, added.stderr
    assert [one.name for one in all_schedules(engine)] == ["ours"]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a?b", "a b", "ä", "-a", "", "a" * 101, "a\n", "a%2Fb"])
def test_a_name_that_the_api_cannot_reach_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^name of the schedule: expected up to 100 letters, digits, dots, dashes"):
        schedules.check_name(name)


def test_a_failed_run_is_one_line(engine: Engine) -> None:
    add_schedule(engine, "old", "0 2 * * *", ("scan", "demo", "--model", "no-such"))
    failed = run("schedule", "run-now", "old", "--here")
    assert failed.exit_code == 3
    (line,) = failed.stderr.splitlines()
    assert line.startswith("error: schedule old: ")
    assert "no model named 'no-such'" in line


@pytest.mark.long
def test_a_command_is_fired_and_its_scan_is_the_runs(engine: Engine) -> None:
    add(engine)
    (one,) = take_due(engine, at("2026-03-29T02:00"))
    run_schedule(engine, one, local=True)
    last = last_run(engine, one.schedule)
    assert (last.state, last.scan_state, last.reason) == ("done", "done", None)


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ((), False),
        (("--fail-under", "45%"), True),
        (("--fail-on-regression",), True),
        (("--sarif=a.sarif",), True),
        (("--junit", "a.xml"), True),
        (("--mlflow", "mlruns"), True),
    ],
)
def test_a_queued_command_waits_if_it_needs_results(
    words: tuple[str, ...], waits: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auditor scan --queue` refuses gates, files and MLflow without `--wait`."""
    programs: list[list[str]] = []
    monkeypatch.setattr(schedules, "_run", lambda program, _: (programs.append(program), (0, []))[1])
    add_schedule(engine, "gated", "0 2 * * *", (*COMMAND, *words))
    for local in (False, True):
        run_schedule(engine, schedules.claim_run_now(engine, "gated"), local=local)
        with Session(engine) as session, session.begin():
            session.execute(update(tables.ScheduleRun).values(state="failed"))
    assert ["--wait" in program for program in programs] == [waits, False]


def test_a_command_that_waits_for_workers_delays_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, order = threading.Event(), []

    def run_program(program: list[str], halted: threading.Event) -> tuple[int, list[str]]:
        if "--wait" in program:
            halted.wait(20)
            order.append("gated")
            ended.set()
        else:
            order.append("plain")
        return 4 if "--wait" in program else 0, ["gate not met: demo:a: got 1 %", "error: 1 gate not met"]

    monkeypatch.setattr(schedules, "_run", run_program)
    add(engine, name="a-gated")
    with Session(engine) as session, session.begin():
        session.execute(update(tables.Schedule).values(command=[*COMMAND, "--fail-under", "45%"]))
    add(engine, name="plain")
    halted = threading.Event()
    schedules.run_due(engine, False, lambda: at("2026-03-29T02:00"), halted)
    assert order == ["plain"]
    halted.set()
    assert ended.wait(20)
    gated = find_schedule(engine, "a-gated")
    until(lambda: last_run(engine, gated).state == "done", 20, "the run has ended")
    assert last_run(engine, gated).reason == "a gate was not met: demo:a: got 1 %"


@pytest.mark.long
def test_a_command_that_fails_is_told_with_its_last_words(engine: Engine) -> None:
    add_schedule(engine, "nightly", "* * * * *", ("scan", "demo", "--model", "no-such"))
    one = schedules.claim_run(engine, find_schedule(engine, "nightly"), MADE)
    run_schedule(engine, one, local=True)
    last = last_run(engine, one.schedule)
    assert (last.state, last.scan) == ("failed", None)
    assert "no model named 'no-such'" in last.reason
    assert [(name, scan) for _, name, scan, _ in runs_to_report(engine)] == [("nightly", None)]


@pytest.mark.long
def test_on_the_command_line(engine: Engine) -> None:
    added = run("schedule", "add", "demo", "--cron", "*/5 * * * *", "--", *COMMAND)
    assert added.exit_code == 0, added.output
    assert run("schedule", "add", "demo", "--cron", "*/5 * * * *", "--", *COMMAND).exit_code == 2
    assert run("schedule", "add", "demo", "--cron", "0 3 * * *", "--replace", "--", *COMMAND).exit_code == 0
    (row,) = json.loads(run("schedule", "list", "--format", "json").stdout)
    assert (row["schedule"], row["cron"], row["command"], row["last_state"]) == (
        "demo",
        "0 3 * * *",
        list(COMMAND),
        None,
    )
    assert run("schedule", "disable", "demo").exit_code == 0
    assert "off" in run("schedule", "list").stdout
    now = run("schedule", "run-now", "demo", "--here")
    assert now.exit_code == 0, now.output
    (row,) = json.loads(run("schedule", "list", "--format", "json").stdout)
    assert (row["last_state"], row["last_scan_state"]) == ("done", "done")
    assert run("schedule", "remove", "demo").exit_code == 0
    assert run("schedule", "remove", "demo").exit_code == 2
    assert all_schedules(engine) == []
    with pytest.raises(UsageError):
        remove_schedule(engine, "demo")


@pytest.mark.long
def test_two_beats_as_processes_one_of_them_killed_make_one_scan(engine: Engine, tmp_path: Path) -> None:
    add(engine, "0 2 * * *", made=datetime.now(UTC) - timedelta(days=2))  # due once, whatever the time is
    beat = [sys.executable, "-m", "auditor", "beat", "--here"]
    logs = [(tmp_path / f"beat-{number}.log").open("w") for number in range(3)]
    beats = [subprocess.Popen(beat, stderr=logs[0]), subprocess.Popen(beat, stderr=logs[1])]
    try:
        until(lambda: _scans(engine), 60, "a scan is made")
        beats[0].kill()
        beats.append(subprocess.Popen(beat, stderr=logs[2]))
        until(
            lambda: any(
                "nothing to compare" in Path(log.name).read_text() or "same" in Path(log.name).read_text()
                for log in logs
            ),
            90,
            "its end is told",
        )
        beats[-1].send_signal(signal.SIGTERM)
        assert beats[-1].wait(30) == 0
    finally:
        for process in beats:
            process.kill()
            process.wait()
        for log in logs:
            log.close()
    assert _scans(engine) == [1]


def _scans(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM scans")).scalars())
