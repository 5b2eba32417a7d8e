"""Workers that are killed, frozen or sent away in the middle of an audit, as real processes."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workers.team import Team, until


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_what_kills_its_process_each_time_is_given_up_after_three(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    worker = team.worker().ready()
    for _ in range(3):
        team.zoo.loading("held")
        worker.kill_pool()
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"], found["losses"]) == ("failed", 3, 2)
    assert "given up: 3 processes that ran it were lost" in found["reason"]


@pytest.mark.long
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
    until(lambda: "local:held: taken" in frozen.read_log(), 30, "the late one notices")
    assert (team.rows("SELECT * FROM audits"), team.rows("SELECT * FROM clusterings")) == before


@pytest.mark.long
def test_a_frozen_worker_and_a_queue_without_one_are_named(team: Team) -> None:
    team.zoo.gate("held")
    team.zoo.add("a")
    scan = team.scan("--protocol", "screen")

    def printed(*words: object) -> str:
        return team.auditor(*(words or ("scans", "show", scan))).stdout

    assert "no worker serves the queue cpu; start one with `auditor worker --queue cpu`" in printed()
    worker = team.worker().ready()
    team.zoo.loading("held")
    assert "no worker" not in printed()
    worker.signal(signal.SIGSTOP, all_of_it=True)  # its reaper, too, so that its lease is not expired
    until(lambda: "running, no sign of life for " in printed(), 30, "the audit is marked")
    assert "no worker serves the queue cpu" in printed()
    assert "no sign of life for " in printed("workers")
    assert "no sign of life for " in printed("scans", "list")
    worker.signal(signal.SIGCONT, all_of_it=True)
    until(lambda: "no sign of life" not in printed() and "no worker" not in printed(), 30, "the marks are gone")
    team.zoo.open("held")
    assert {row["state"] for row in team.ended(scan).values()} == {"done"}


@pytest.mark.long
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


@pytest.mark.long
def test_a_worker_told_to_end_lets_a_short_audit_finish(team: Team) -> None:
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    worker = team.worker("--grace", "12").ready()
    team.zoo.loading("held")
    worker.signal(signal.SIGTERM)
    time.sleep(1)
    team.zoo.open("held")
    worker.process.wait(60)
    found = team.audits(scan)["held"]
    assert (found["state"], found["attempt"]) == ("done", 1)


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["3600", "-3600"])
def test_a_clock_that_jumps_costs_no_audit_its_process(team: Team, clock: str) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for a wall clock that can be set")
    library, offset = team.folder / "clock.so", team.folder / "offset"
    source = Path(__file__).parent / "clock.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], check=True)
    offset.write_text("0")
    fake = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    team.zoo.gate("held")
    scan = team.scan("--protocol", "screen")
    team.worker(**fake).ready()
    team.worker()  # whose clock is right, and whose reaper looks on
    team.zoo.loading("held")
    offset.write_text(clock)
    time.sleep(8)  # more than two leases
    silent = [row["seconds_silent"] for row in json.loads(team.auditor("workers", "--format", "json").stdout)]
    assert len(silent) == 2
    assert clock == "3600" or max(silent) > 3500, "the clock was set, indeed"
    assert (team.audits(scan)["held"]["state"], team.audits(scan)["held"]["losses"]) == ("running", 0)
    team.zoo.open("held")
    found = team.ended(scan)["held"]
    assert (found["state"], found["attempt"]) == ("done", 1)


@pytest.mark.long
def test_attacks_go_on_where_a_killed_worker_had_come_with_the_same_result(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_BATCH_SIZE", "16")
    team.zoo.add("m", function="slow", seconds=0.05)
    scan = team.scan("--protocol", "quick", "--samples", "64")
    first = team.worker().ready()
    until(lambda: team.rows("SELECT audit_id FROM attack_progress"), 60, "an attack is over")
    first.kill()
    second = team.worker()
    found = team.ended(scan)["m"]
    assert (found["state"], found["attempt"]) == ("done", 2)
    assert "local:m: resumes from its saved progress" in second.read_log()
    here = team.auditor("scan", "local", team.zoo.folder, "--here", "--force", "--trust-code", "--samples", "64")
    assert here.exit_code == 0, here.output
    columns = "identity, flags, notes, clean_accuracy, robust_accuracy, v.correct, v.survived"
    whole, resumed = team.rows(f"SELECT {columns} FROM audits JOIN verdicts v ON v.audit_id = id ORDER BY id DESC")
    assert {**whole, "flags": str(whole["flags"])} == {**resumed, "flags": str(resumed["flags"])}
    scores = "SELECT attack, n, broken, robust_accuracy FROM attack_scores ORDER BY audit_id, position"
    rows = team.rows(scores)
    assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]
    assert len(rows) == 4


@pytest.mark.long
def test_a_reaper_that_is_killed_is_replaced(team: Team) -> None:
    worker = team.worker().ready()

    def reapers() -> list[int]:
        alive = [one for one in worker.family() if one.status() != psutil.STATUS_ZOMBIE]
        return [one.pid for one in alive if "workers.reaper" in one.cmdline()]

    (first,) = until(reapers, 20)
    os.kill(first, signal.SIGKILL)
    until(lambda: [pid for pid in reapers() if pid != first], 30, "is started again")
    assert "is started again" in worker.read_log()
