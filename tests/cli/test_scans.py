"""``auditor scans``, ``auditor workers`` and where a scan runs, without a worker: from the command to the exit code."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import Result
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.ending import now
from auditor.db.leases import Leases
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.workers import WorkerStatus, report_worker
from auditor.jobs.process_names import host_name
from auditor.records import AuditRequest, Measurement
from auditor.scans.request import ScanRequest
from tests.factories.command import audits, run
from tests.factories.records import entry, record
from tests.workers.team import Redis, Zoo, free_port, until

SCREEN = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="screen"), samples=0)).to_json()


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    broker = Redis()
    yield broker
    broker.stop()


@pytest.fixture
def broker(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    redis.ask("FLUSHALL")
    monkeypatch.setenv("AUDITOR_BROKER_URL", redis.url)
    return redis


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


def in_json(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
    result = run(*arguments, "--format", "json")
    assert result.exit_code == code, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, list)
    return found


def fails(result: Result, code: int, *parts: str) -> None:
    """With one line on stderr, and nothing else."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("error: "), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    for part in parts:
        assert part in result.stderr


def stored(engine: Engine, *ends: str, queue: str = "cpu", worker: str | None = None) -> int:
    """A scan whose audits have come so far."""
    store = Store(engine)
    entries = [entry(f"{number}-{end.split(':')[0]}") for number, end in enumerate(ends)]
    scan_id, jobs = store.create_scan("demo", SCREEN, entries, queue=queue, worker=worker)
    for job, end in zip(jobs, ends, strict=True):
        if end == "queued":
            continue
        attempt = store.claim(job.audit_id, "elsewhere:1", 3)
        if end == "done":
            store.finish(job.audit_id, attempt, record(job.entry.model.removeprefix("demo:"), protocol="screen"))
        elif end == "failed":
            store.fail(job.audit_id, attempt, "no weights")
    return scan_id


def test_an_empty_database() -> None:
    for arguments, said in ((("scans", "list"), "no scans"), (("workers",), "no process runs audits")):
        result = run(*arguments)
        assert result.exit_code == 0
        assert said in result.output
        assert in_json(*arguments) == []


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
@pytest.mark.parametrize("scan_id", [7, 2**31 - 1])
def test_a_scan_that_there_is_not(command: str, scan_id: int) -> None:
    fails(run("scans", command, scan_id), 2, f"there is no scan {scan_id}; see `auditor scans list`")


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
@pytest.mark.parametrize("scan_id", ["0", "x", 2**31, ""])
def test_what_is_no_number_of_a_scan(command: str, scan_id: object) -> None:
    result = run("scans", command, scan_id)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_scans_are_listed_the_newest_first(engine: Engine) -> None:
    first = stored(engine, "done", "failed")
    second = stored(engine, "done", "queued", "running", queue="gpu")
    third = stored(engine, "queued")
    Store(engine).cancel(third, "gone")
    rows = in_json("scans", "list")
    assert [(row["scan"], row["state"]) for row in rows] == [
        (third, "interrupted"), (second, "running"), (first, "done"),
    ]  # fmt: skip
    assert [rows[1][name] for name in ("queue", "done", "queued", "running", "failed")] == ["gpu", 1, 1, 1, 0]
    for state, expected in (("running", [second]), ("done", [first]), ("interrupted", [third])):
        assert [row["scan"] for row in in_json("scans", "list", "--state", state)] == expected
    assert [row["scan"] for row in in_json("scans", "list", "--limit", 2)] == [third, second]
    lines = run("scans", "list").stdout.splitlines()
    assert lines[0].split()[:5] == ["scan", "source", "protocol", "queue", "state"]
    assert len([line for line in lines if "demo" in line]) == 3


def test_a_scan_is_shown_with_its_audits(engine: Engine) -> None:
    scan_id = stored(engine, "done", "failed", "running", "queued")
    running = 3
    report_worker(
        engine,
        WorkerStatus(
            name="elsewhere:1", queue="cpu", device="cpu", started_at=now(), audit_id=running, part="fgsm",
            part_done=3, part_total=9,
        ),
    )  # fmt: skip
    (shown,) = in_json("scans", "show", scan_id)
    assert [audit["state"] for audit in shown["audits"]] == ["done", "failed", "running", "queued"]
    table = run("scans", "show", scan_id).stdout
    assert table.startswith(f"scan {scan_id} of demo, in the queue cpu: running; 1 queued, 1 running, 1 done, 1 failed")
    for part in ("no weights", "elsewhere:1", "fgsm 3/9"):
        assert part in table
    (worker,) = in_json("workers")
    assert (worker["worker"], worker["model"], worker["scan"]) == ("elsewhere:1", "demo:2-running", scan_id)
    assert "fgsm 3/9" in run("workers").stdout


def test_a_queued_scan_is_cancelled_at_once(engine: Engine) -> None:
    scan_id = stored(engine, "done", "failed", "queued", "queued")
    result = run("scans", "cancel", scan_id)
    assert result.exit_code == 0
    assert f"scan {scan_id}: interrupted; 1 done, 1 failed, 2 cancelled" in result.stderr
    again = run("scans", "cancel", scan_id)
    assert (again.exit_code, again.stderr) == (0, f"scan {scan_id} has already ended: interrupted\n")


@pytest.mark.long
def test_a_scan_of_a_silent_worker_is_cancelled_after_its_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_LEASE_SECONDS", "3")
    scan_id = stored(engine, "running", "queued")
    result = run("scans", "cancel", scan_id)
    assert result.exit_code == 0, result.output
    assert "waiting for elsewhere:1" in result.stderr
    (shown,) = in_json("scans", "show", scan_id)
    assert [audit["state"] for audit in shown["audits"]] == ["cancelled", "cancelled"]
    assert shown["audits"][0]["reason"].startswith("cancelled; elsewhere:1 gave no sign of life")


# Where a scan runs.


@pytest.mark.parametrize(
    ("arguments", "broker", "code", "message"),
    [
        (("--queue",), None, 2, "AUDITOR_BROKER_URL"),
        (("--queue",), "", 2, "AUDITOR_BROKER_URL"),
        (("--queue",), "kafka://127.0.0.1", 2, "expected redis://… or amqp://…, got 'kafka'"),
        (("--queue",), "foo", 2, "expected redis://… or amqp://…"),
        ((), "foo", 2, "expected redis://… or amqp://…"),
        (("--queue",), "redis://127.0.0.1:1/0", 3, "does not answer"),
        ((), "redis://127.0.0.1:1/0", 3, "does not answer"),
        (("--queue",), "amqp://bob:secret@127.0.0.1:1//", 3, "does not answer"),
        (("--here", "--wait"), "redis://127.0.0.1:1/0", 2, "--wait needs --queue"),
        (("--wait",), None, 2, "--wait needs --queue"),
        (("--queue", "--jobs", "2"), "redis://127.0.0.1:1/0", 2, "--jobs needs --here"),
        (("--jobs", "2"), "redis://127.0.0.1:1/0", 2, "--jobs needs --here"),
        (("--queue", "--fail-on-regression"), "redis://127.0.0.1:1/0", 2, "add --wait or --here"),
        (("--fail-under", "10%"), "redis://127.0.0.1:1/0", 2, "add --wait or --here"),
    ],
)
def test_what_does_not_fit_is_one_line_and_stores_nothing(
    arguments: tuple[str, ...], broker: str | None, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audits_or_none() == 0
    if broker is not None:
        monkeypatch.setenv("AUDITOR_BROKER_URL", broker)
    result = run("scan", "demo", *arguments)
    fails(result, code, message)
    assert "secret" not in result.stderr
    assert audits_or_none() == 0


def audits_or_none() -> int:
    open_database(os.environ["AUDITOR_DATABASE_URL"]).dispose()
    return audits()


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("device", ["cuda:1", "cuda:0", "gpu"])
def test_the_queue_takes_no_numbered_gpu(device: str) -> None:
    fails(run("scan", "demo", "--queue", "--device", device), 2, "workers choose the GPU", repr(device))
    assert audits_or_none() == 0


@pytest.mark.parametrize(
    ("arguments", "broker", "code", "message"),
    [
        ((), None, 2, "AUDITOR_BROKER_URL"),
        ((), "kafka://127.0.0.1", 2, "expected redis://… or amqp://…, got 'kafka'"),
        ((), "foo", 2, "expected redis://… or amqp://…"),
        ((), "redis://127.0.0.1:1/0", 3, "does not answer"),
        (("--gpus", ","), None, 2, "expected GPU numbers such as 0,2"),
        (("--gpus", "0", "--queue", "cpu"), None, 2, "--gpus cannot be combined with"),
        (("--gpus", "0", "--processes", "2"), None, 2, "--gpus cannot be combined with"),
    ],
)
def test_a_worker_that_cannot_start_says_so(
    arguments: tuple[str, ...], broker: str | None, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broker:
        monkeypatch.setenv("AUDITOR_BROKER_URL", broker)
    fails(run("worker", *arguments), code, message)


def test_a_scan_goes_into_the_queue(broker: Redis) -> None:
    rows = in_json("scan", "demo", "--queue", "--limit", 3, "--protocol", "screen")
    assert [row["status"] for row in rows] == ["queued"] * 3
    assert broker.ask("LLEN", "cpu") == "3"
    (scan,) = in_json("scans", "list")
    assert (scan["state"], scan["queue"], scan["queued"], scan["worker"]) == ("running", "cpu", 3, None)
    table = run("scan", "demo", "--limit", 1, "--protocol", "screen")
    assert (table.exit_code, table.stdout) == (0, "")
    assert "no worker serves the queue cpu yet" in table.stderr
    gpu = run("scan", "demo", "--limit", 1, "--device", "cuda")
    assert (gpu.exit_code, broker.ask("LLEN", "gpu")) == (0, "1")


@pytest.mark.long
def test_a_broker_that_is_lost_after_the_check_costs_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr("auditor.jobs.queue.check_broker", lambda: None)
    result = run("scan", "demo", "--queue", "--limit", 2, "--protocol", "screen")
    assert result.exit_code == 0, result.output
    assert "the scan is stored, and a worker sends it once the broker answers" in result.stderr
    assert [row["state"] for row in in_json("scans", "list")] == ["running"]


class Helper(threading.Thread):
    """Does what a worker would, a second later."""

    def __init__(self, engine: Engine, ends: list[str]) -> None:
        super().__init__()
        self.store, self.ends = Store(engine), ends

    def run(self) -> None:
        time.sleep(1)
        for job in Leases(self.store.engine).longest_unsent("cpu", 99):
            attempt, end = self.store.claim(job.job_id), self.ends.pop()
            if end == "fail":
                self.store.fail(job.job_id, attempt, "no weights")
            else:
                model = self.store.load_job(job.job_id).entry.model.removeprefix("demo:")
                self.store.finish(job.job_id, attempt, record(model, protocol="screen"))


@pytest.mark.long
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(("ends", "code"), [(["done", "done"], 0), (["fail", "done"], 1)])
def test_a_queued_scan_is_followed(engine: Engine, ends: list[str], code: int) -> None:
    helper = Helper(engine, list(ends))
    helper.start()
    rows = in_json("scan", "demo", "--queue", "--wait", "--limit", 2, "--protocol", "screen", code=code)
    helper.join()
    assert sorted(row["status"] for row in rows) == sorted("failed" if end == "fail" else end for end in ends)


# Retries.


@pytest.mark.parametrize("arguments", [("--here",), ("--queue",), ("--queue", "--wait")])
@pytest.mark.usefixtures("broker")
def test_a_retry_of_nothing_says_so_in_one_line(engine: Engine, arguments: tuple[str, ...]) -> None:
    scan_id = stored(engine, "done", "done", queue="here" if "--here" in arguments else "cpu")
    result = run("scans", "retry", scan_id, *arguments)
    said = f"scan {scan_id} has ended; none of its audits failed or was cancelled\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", said)
    assert [row["status"] for row in in_json("scans", "retry", scan_id, *arguments)] == ["done", "done"]
    assert in_json("scans", "list")[0]["state"] == "done"


@pytest.mark.long
def test_a_retry_of_a_running_scan_follows_it(engine: Engine, broker: Redis) -> None:
    scan_id = stored(engine, "done", "queued", "queued")
    without = run("scans", "retry", scan_id, "--queue")
    assert (without.exit_code, without.stdout) == (0, "")
    assert without.stderr == f"scan {scan_id} is running; none of its audits failed or was cancelled\n"
    helper = Helper(engine, ["done", "done"])
    helper.start()
    result = run("scans", "retry", scan_id, "--wait")
    helper.join()
    assert result.exit_code == 0, result.output
    assert f"scan {scan_id}: 3 audited, 0 done before, 0 failed" in result.stderr
    assert broker.ask("LLEN", "cpu") == "0"


def test_a_retry_sends_what_failed_and_what_was_cancelled(engine: Engine, broker: Redis) -> None:
    scan_id = stored(engine, "done", "failed", "queued")
    run("scans", "cancel", scan_id)
    rows = in_json("scans", "retry", scan_id, "--queue")
    assert sorted(row["status"] for row in rows) == ["done", "queued", "queued"]
    assert broker.ask("LLEN", "cpu") == "2"
    assert in_json("scans", "list")[0]["state"] == "running"


def test_a_scan_that_runs_here_is_not_retried_beside_itself(engine: Engine) -> None:
    scan_id = stored(engine, "failed", "queued", queue="here", worker=f"{host_name()}:{os.getpid()}")
    fails(run("scans", "retry", scan_id), 2, f"scan {scan_id} is still running")
    assert in_json("scans", "show", scan_id)[0]["failed"] == 1


@pytest.mark.parametrize("wrong", ["device", "folder"])
def test_a_retry_that_cannot_run_here_leaves_the_scan_as_it_is(engine: Engine, wrong: str) -> None:
    changes = {"device": "cuda:99"} if wrong == "device" else {"folder": None}
    source = "demo" if wrong == "device" else "local"
    store = Store(engine)
    scan_id, (job,) = store.create_scan(source, SCREEN | changes, [entry()])
    store.fail(job.audit_id, store.claim(job.audit_id), "no weights")
    before = in_json("scans", "show", scan_id)
    result = run("scans", "retry", scan_id)
    fails(result, 3 if wrong == "device" else 2)
    assert in_json("scans", "show", scan_id) == before
    assert before[0]["state"] == "done"


# Scans in a process of their own.


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changing = ("id", "seconds", "started_at", "finished_at", "queued_at", "scan")
    return sorted(
        ({key: value for key, value in row.items() if key not in changing} for row in rows),
        key=lambda row: row["model"],
    )


@pytest.mark.long
def test_models_side_by_side_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_THREADS", "1")
    asked = ("scan", "demo", "--here", "--limit", 4, "--samples", 16, "--force")
    one, two = (in_json(*asked, "--jobs", jobs) for jobs in (1, 2))
    assert len(one) == 4
    assert {row["status"] for row in one} == {"done"}
    assert not {row["id"] for row in one} & {row["id"] for row in two}
    assert numbers(two) == numbers(one)


class Process:
    """``auditor scan`` on a zoo whose models wait until they may be loaded, in a session of its own."""

    def __init__(self, zoo: Zoo, *options: str) -> None:
        command = [sys.executable, "-m", "auditor", "scan", "local", str(zoo.folder), "--here", "--trust-code"]
        self.popen = subprocess.Popen(
            [*command, "--protocol", "screen", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def left(self) -> list[int]:
        """What lives of its session."""
        found = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == self.popen.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
            except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                continue
        return found

    def end(self) -> None:
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)
        self.popen.communicate()


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path / "zoo")


@pytest.mark.long
def test_a_scan_here_is_cancelled_from_another_process(zoo: Zoo) -> None:
    zoo.add("a")
    zoo.gate("held")
    zoo.add("b")
    process = Process(zoo, "--jobs", "1")
    try:
        child = zoo.loading("held")
        began = time.monotonic()
        result = run("scans", "cancel", 1)
        assert result.exit_code == 0, result.output
        process.popen.wait(10)
        assert time.monotonic() - began < 60
        assert not psutil.pid_exists(child)
        until(lambda: not process.left(), 30, "nothing of it is left")
        assert process.popen.returncode == 1
    finally:
        process.end()
    (shown,) = in_json("scans", "show", 1)
    assert shown["state"] == "interrupted"
    found = {audit["model"]: (audit["state"], audit["reason"]) for audit in shown["audits"]}
    cancelled = ("cancelled", "cancelled")
    assert found == {"local:a": ("done", None), "local:held": cancelled, "local:b": cancelled}
    assert in_json("workers") == []


@pytest.mark.long
def test_a_scan_here_that_was_killed_is_interrupted_and_can_be_finished(zoo: Zoo) -> None:
    zoo.add("a")
    zoo.gate("x")
    zoo.gate("y")
    zoo.add("b")
    process = Process(zoo, "--jobs", "2")
    try:
        children = [zoo.loading("x"), zoo.loading("y")]
        names = {row["worker"] for row in in_json("workers")}
        assert names == {f"{host_name()}:{process.popen.pid}{slot}" for slot in ("", "/1")}
        assert [row["state"] for row in in_json("scans", "list")] == ["running"]
        process.popen.kill()
        process.popen.wait(10)
        until(lambda: not any(psutil.pid_exists(child) for child in children), 10, "what measured ends, too")
        until(lambda: not process.left(), 10, "nothing of it is left")
    finally:
        process.end()
    until(lambda: in_json("scans", "list")[0]["state"] == "interrupted", 10, "its silence is noticed")
    assert in_json("workers") == []
    for name in ("x", "y"):
        zoo.open(name)
    rows = in_json("scans", "retry", 1, "--here")
    assert {row["model"]: row["status"] for row in rows} == {f"local:{name}": "done" for name in "axyb"}
    (shown,) = in_json("scans", "show", 1)
    assert shown["state"] == "done"
    assert {audit["model"]: audit["attempt"] for audit in shown["audits"]} == {
        "local:a": 1, "local:x": 2, "local:y": 2, "local:b": 1,
    }  # fmt: skip
