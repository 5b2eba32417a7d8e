"""Models that hang, eat memory or are killed, and audits that are cancelled: the true reason is stored."""

import os
import signal
import time

import psutil
import pytest

from auditor.db.scans import cancel_scan
from auditor.db.session import make_engine
from tests.workers.team import Team, until


@pytest.mark.long
@pytest.mark.parametrize(
    ("function", "option", "reason"),
    [
        ("hanging", ("--time-limit", "0.25"), "took longer than 0.25 minutes and was stopped"),
        ("hungry", ("--memory-limit", "1"), "of memory, more than the 1.0 allowed, and was stopped"),
        ("killed", (), "its process was killed, most likely because the machine ran out of memory"),
    ],
)
def test_the_reason_is_stored_and_the_queue_goes_on(
    team: Team, function: str, option: tuple[str, ...], reason: str
) -> None:
    team.zoo.add("bad", function=function)
    team.zoo.add("good")
    scan = team.scan("--protocol", "screen", *option)
    worker = team.worker().ready()
    found = team.ended(scan)
    assert (found["bad"]["state"], found["bad"]["attempt"], found["good"]["state"]) == ("failed", 1, "done")
    assert reason in found["bad"]["reason"]
    children = psutil.Process(worker.pool()[0]).children(recursive=True)
    assert sum("multiprocessing" not in " ".join(child.cmdline()) for child in children) == 0


@pytest.mark.slow
def test_a_process_of_the_pool_that_hangs_is_killed_at_the_hard_limit(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.jobs.queue.SOFT_MARGIN", 1)
    monkeypatch.setattr("auditor.jobs.queue.HARD_MARGIN", 2)
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen", "--time-limit", "0.2")
    worker = team.worker().ready()
    team.zoo.loading("held")
    (frozen,) = worker.pool()
    os.kill(frozen, signal.SIGSTOP)
    team.zoo.open("held")
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"], found["losses"]) == ("done", 2, 1)
    assert not psutil.pid_exists(frozen)


@pytest.mark.long
def test_code_that_the_worker_does_not_trust_is_not_run(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    team.worker(trusting=False)
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"]) == ("failed", 1)
    assert "start the worker with `auditor worker --trust-code`" in found["reason"]
    assert not (team.zoo.folder / "held.loading").exists()


@pytest.mark.long
def test_cancelled_is_said_within_ten_seconds_when_the_process_is_gone(team: Team) -> None:
    team.zoo.gate("held")
    team.zoo.add("a", "b")
    scan = team.scan("--protocol", "screen")
    team.worker().ready()
    child = team.zoo.loading("held")
    began = time.monotonic()
    result = team.auditor("scans", "cancel", scan)
    took = time.monotonic() - began
    assert result.exit_code == 0, result.output
    assert not psutil.pid_exists(child)
    assert took < 10
    found = team.ended(scan)
    assert {(row["state"], row["reason"]) for row in found.values()} == {("cancelled", "cancelled")}


@pytest.mark.long
def test_cancelled_is_not_said_while_the_process_lives(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    worker = team.worker().ready()
    child = team.zoo.loading("held")
    worker.signal(signal.SIGSTOP, all_of_it=True)
    cancel_scan(make_engine(team.url), scan, "enough")
    time.sleep(1)
    assert team.audits(scan)["held"]["state"] == "cancelling"
    assert psutil.pid_exists(child)
    worker.signal(signal.SIGCONT, all_of_it=True)
    until(lambda: team.audits(scan)["held"]["state"] == "cancelled", 10, "cancelled")
    assert not psutil.pid_exists(child)
