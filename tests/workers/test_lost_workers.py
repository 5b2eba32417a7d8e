"""Workers that are killed, frozen or sent away in the middle of an audit, as real processes."""

import os
import signal
import time

import psutil
import pytest

from tests.workers.team import Team, until


def test_a_worker_killed_in_the_middle_of_an_audit_costs_nothing(team: Team) -> None:
    team.zoo.gate("held")
    team.zoo.add("a", "b")
    scan = team.scan("--protocol", "screen")
    first = team.worker().ready()
    child = team.zoo.loading("held")
    second = team.worker().ready()
    first.kill()
    until(lambda: not psutil.pid_exists(child), 10, "what measured ends with its worker")
    assert team.zoo.loading("held") != child
    team.zoo.open("held")
    found = team.ended(scan)
    assert {row["state"] for row in found.values()} == {"done"}
    assert (found["held"]["attempt"], found["held"]["losses"]) == (2, 1)
    assert found["held"]["worker"].split(":")[-1] in {str(pid) for pid in second.pool()}


def test_all_workers_killed_and_one_started_later(team: Team) -> None:
    team.zoo.gate("x")
    team.zoo.gate("y")
    team.zoo.add("a")
    scan = team.scan("--protocol", "screen")
    workers = [team.worker().ready() for _ in range(2)]
    for name in ("x", "y"):
        team.zoo.loading(name)
    for worker in workers:
        worker.kill()
    for name in ("x", "y"):
        team.zoo.open(name)
    team.worker()
    found = team.ended(scan)
    assert [row["state"] for row in found.values()] == ["done"] * 3
    assert found["x"]["losses"] == found["y"]["losses"] == 1


def test_what_kills_its_process_each_time_is_given_up_after_three(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    worker = team.worker().ready()
    for _ in range(3):
        team.zoo.loading("held")
        for pid in worker.pool():
            os.kill(pid, signal.SIGKILL)
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"], found["losses"]) == ("failed", 3, 2)
    assert "given up: 3 processes that ran it were lost" in found["reason"]


def test_a_worker_frozen_past_its_lease_writes_nothing_when_it_wakes(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    frozen = team.worker().ready()
    team.zoo.loading("held")
    frozen.signal(signal.SIGSTOP, all_of_it=True)
    team.worker()
    team.zoo.loading("held")
    team.zoo.open("held")
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"], found["losses"]) == ("done", 2, 1)
    before = team.rows("SELECT * FROM audits"), team.rows("SELECT * FROM clusterings")
    frozen.signal(signal.SIGCONT, all_of_it=True)
    until(lambda: "local:held: taken" in frozen.said(), 30, "the late one notices")
    assert (team.rows("SELECT * FROM audits"), team.rows("SELECT * FROM clusterings")) == before


def test_a_worker_told_to_end_puts_its_audit_back_at_no_cost(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    first = team.worker("--grace", "1").ready()
    child = team.zoo.loading("held")
    first.signal(signal.SIGTERM)
    first.process.wait(30)
    assert not psutil.pid_exists(child)
    held = team.audits(scan)["held"]
    assert (held["state"], held["attempt"], held["losses"]) == ("queued", 1, 0)
    team.zoo.open("held")
    team.worker()
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"], found["losses"]) == ("done", 2, 0)


def test_a_worker_told_to_end_lets_a_short_audit_finish(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    worker = team.worker("--grace", "60").ready()
    team.zoo.loading("held")
    worker.signal(signal.SIGTERM)
    time.sleep(2)
    team.zoo.open("held")
    worker.process.wait(60)
    found = team.audits(scan)["held"]
    assert (found["state"], found["attempt"]) == ("done", 1)


@pytest.mark.parametrize("clock", ["+3600", "-3600"])
def test_a_clock_that_jumps_costs_no_audit_its_process(team: Team, clock: str) -> None:
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    if not os.path.exists(library):  # noqa: PTH110
        pytest.skip("needs Debian's package faketime")
    offset = team.folder / "offset"
    offset.write_text("+0")
    fake = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    team.worker(**fake).ready()
    team.worker()  # whose clock is right, and whose reaper looks on
    team.zoo.loading("held")
    offset.write_text(clock)
    time.sleep(8)  # more than two leases
    assert (team.audits(scan)["held"]["state"], team.audits(scan)["held"]["losses"]) == ("running", 0)
    team.zoo.open("held")
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"]) == ("done", 1)
