"""What lists and followers say of a process that has gone silent, and of a queue that nobody serves."""

import io
import json
import re
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from sqlalchemy import Engine

from auditor.cli.output import follow
from auditor.cli.output.states import SilenceReports
from auditor.config import settings
from auditor.db.scans import load_scan
from auditor.db.session import open_database
from auditor.db.trainings import load_training
from tests.factories.command import run
from tests.factories.scans import WORKER, age, boost_of, scan_of, send_heartbeat

SILENT = r"no sign of life for 1 min 1\d s"
UNSERVED = "no worker serves the queue cpu"
Make = Callable[[Engine], object]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


def silent(engine: Engine) -> None:
    scan_of(engine, "done", "running", "queued")
    boost_of(engine, "running", worker="elsewhere-0a1b:8")
    age(engine, 75)


def alive(engine: Engine) -> None:
    silent(engine)
    age(engine, -75)


def late(engine: Engine) -> None:
    """Within what a busy machine may take."""
    silent(engine)
    age(engine, -70)


def waits(engine: Engine) -> None:
    scan_of(engine, "queued", "queued")
    boost_of(engine, "queued")


def waits_for_the_other_queue(engine: Engine) -> None:
    waits(engine)
    send_heartbeat(engine, queue="gpu")


def served(engine: Engine) -> None:
    waits(engine)
    send_heartbeat(engine)


def served_by_a_silent_worker(engine: Engine) -> None:
    served(engine)
    age(engine, 75)


def waits_for_its_own_process(engine: Engine) -> None:
    scan_of(engine, "queued", queue="here")
    boost_of(engine, "queued", queue="here")


def ended(engine: Engine) -> None:
    scan_of(engine, "done", "failed", "cancelled")
    age(engine, 75)


@pytest.mark.long
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (silent, {SILENT, UNSERVED}), (alive, set()), (late, set()), (waits, {UNSERVED}),
        (waits_for_the_other_queue, {UNSERVED}), (served, set()), (served_by_a_silent_worker, {UNSERVED}),
        (waits_for_its_own_process, set()), (ended, set()),
    ],
)  # fmt: skip
def test_lists_say_what_was_seen_last(engine: Engine, state: Make, said: set[str]) -> None:
    state(engine)
    for command in (("scans", "list"), ("scans", "show", 1), ("trainings", "list"), ("workers",)):
        result = run(*command)
        assert result.exit_code == 0, result.output
        expected = set(said)
        if command[0] == "trainings" and state is silent:
            expected = {SILENT}  # the boost is not queued
        if command == ("scans", "list") and state is silent:
            expected = {SILENT}  # one state a row: the silence explains the rest
        if command == ("workers",) and state is served_by_a_silent_worker:
            expected = {SILENT, UNSERVED}
        for words in (SILENT, UNSERVED):
            assert bool(re.search(words, result.stdout)) == (words in expected), (command, words, result.stdout)
        assert "dead" not in result.stdout


def test_the_json_output_has_the_time_and_not_the_sentence(engine: Engine) -> None:
    silent(engine)
    (scan,) = json.loads(run("scans", "list", "--format", "json").stdout)
    (shown,) = json.loads(run("scans", "show", 1, "--format", "json").stdout)
    (boost,) = json.loads(run("trainings", "list", "--format", "json").stdout)
    workers = json.loads(run("workers", "--format", "json").stdout)
    times = [audit["silent_since"] for audit in shown["audits"]]
    assert [time is None for time in times] == [True, False, True]
    assert scan["silent_since"] == times[1]
    assert (scan["unserved"], boost["unserved"]) == (True, False)
    assert boost["silent_since"] is not None
    assert [(row["host"], row["model"], bool(row["silent_since"])) for row in workers] == [
        ("elsewhere-0a1b", "demo:1", True), ("elsewhere-0a1b", "demo:standard", True),
    ]  # fmt: skip
    age(engine, -75)
    (scan,) = json.loads(run("scans", "list", "--format", "json").stdout)
    assert (scan["silent_since"], scan["unserved"]) == (None, False)


@pytest.mark.parametrize(("seconds", "left"), [(60.0, 120), (10.0, 20), (0.0, 0)])
def test_a_scan_ends_in_about_the_time_that_its_audits_took(engine: Engine, seconds: float, left: float) -> None:
    """One runs now, and two are left, the running one with them."""
    scan_id = scan_of(engine, "done", "done", "running", "queued", seconds=seconds)
    assert load_scan(engine, scan_id).seconds_left == pytest.approx(left, abs=5)


@pytest.mark.parametrize(
    "ends",
    [("running", "queued"), ("done", "queued"), ("done", "failed"), ("failed", "running"), ("done", "cancelled")],
)
def test_without_a_done_or_a_running_audit_nobody_knows_when_a_scan_ends(engine: Engine, ends: tuple[str, ...]) -> None:
    assert load_scan(engine, scan_of(engine, *ends)).seconds_left is None


def test_a_silent_process_brings_no_end_nearer(engine: Engine) -> None:
    scan_id = scan_of(engine, "done", "running", "queued")
    age(engine, 75)
    assert load_scan(engine, scan_id).seconds_left is None


def test_a_follower_says_each_silence_once(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    scan_id, boost = scan_of(engine, "running", "queued"), boost_of(engine, "running", worker="elsewhere-0a1b:8")
    of_scan, of_boost = SilenceReports(), SilenceReports()

    def said() -> list[str]:
        for _ in range(2):
            of_scan.report(load_scan(engine, scan_id))
            of_boost.report(load_training(engine, boost))
        return capsys.readouterr().err.splitlines()

    assert said() == []
    age(engine, 75)
    first, second, third = said()
    assert re.fullmatch(f"demo:0: {SILENT} of {WORKER}", first)
    assert second == f"{UNSERVED}; start one with `auditor worker --queue cpu`"
    assert re.fullmatch(f"demo:standard: {SILENT} of elsewhere-0a1b:8", third)
    age(engine, -75)
    assert said() == []
    age(engine, 75)
    assert len(said()) == 3


def test_the_live_view_marks_a_silent_audit(engine: Engine) -> None:
    scan_id = scan_of(engine, "running", "queued")
    age(engine, 75)
    console = Console(width=120, file=io.StringIO())
    console.print(follow.view(load_scan(engine, scan_id)))
    text = console.file.getvalue()
    assert re.search(SILENT, text)
    assert UNSERVED in text


def test_the_live_view_says_about_when_the_scan_ends(engine: Engine) -> None:
    scan_id = scan_of(engine, "done", "done", "running", "queued", seconds=3600.0)
    console = Console(width=120, file=io.StringIO())
    console.print(follow.view(load_scan(engine, scan_id)))
    assert re.search(r"scan 1: 1 queued, 1 running, 2 done, about (2 h|1 h 59 min) left", console.file.getvalue())


@pytest.mark.parametrize(("ends", "code"), [(("done", "done"), 0), (("done", "failed"), 1)])
def test_an_ended_scan_is_followed_to_its_results(engine: Engine, ends: tuple[str, ...], code: int) -> None:
    scan_of(engine, *ends)
    result = run("scans", "follow", 1, "--format", "json")
    assert result.exit_code == code
    assert [row["status"] for row in json.loads(result.stdout)] == list(ends)
    assert "there is no scan 7" in run("scans", "follow", 7).stderr
