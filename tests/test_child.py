"""A task in a child process: what it answers, how it may fail, and that nothing of it is left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from auditor.child import GIB, InChild, Limits
from auditor.errors import MeasurementError

PLENTY = Limits(seconds=120, memory=64 * GIB)


def child(task: str, limits: Limits = PLENTY) -> InChild:
    return InChild(limits=limits, task=f"tests.children.{task}")


def run(task: str, limits: Limits = PLENTY, progress=lambda *_: None, wanted=lambda _: True):
    return child(task, limits)("a source", "an entry", "a request", progress, wanted)


def test_a_task_gets_its_arguments_asks_back_and_answers() -> None:
    told, asked = [], []
    *given, wanted, pid = run("answer", progress=lambda *step: told.append(step), wanted=asked.append)
    assert given == ["a source", "an entry", "a request"]
    assert (told, asked, wanted) == ([("first", 0, 2), ("first", 2, 2)], ["an identity"], None)
    assert pid != os.getpid()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("task", "limits", "reason"),
    [
        ("hang", Limits(seconds=1.5, memory=64 * GIB), r"took longer than 0.025 minutes and was stopped: see --time"),
        ("eat", Limits(seconds=120, memory=2 * GIB), r"used 2\.\d GiB of memory, more than the 2.0 allowed"),
        ("be_killed", PLENTY, r"was killed, most likely because the machine ran out of memory"),
        ("crash", PLENTY, r"crashed: SIGSEGV"),
        ("leave", PLENTY, r"ended unexpectedly, with exit code 7"),
        ("refuse", PLENTY, r"^cannot read the weights$"),
        ("stumble", PLENTY, r"^ZeroDivisionError: somewhere in a model$"),
        ("unpicklable", PLENTY, r"pickle"),
        ("deep", PLENTY, r"RecursionError"),
        ("no_such_task", PLENTY, r"no attribute 'no_such_task'"),
    ],
)
def test_whatever_ends_a_task_is_one_error_and_the_next_task_runs(task: str, limits: Limits, reason: str) -> None:
    with pytest.raises(MeasurementError, match=reason) as caught:
        run(task, limits)
    assert "\n" not in str(caught.value)
    assert run("answer")[0] == "a source"


def test_what_a_task_prints_goes_to_stderr() -> None:
    code = (
        "from tests.test_child import run\n"
        "if __name__ == '__main__':\n"
        "    print(run('chatter'))\n"
    )  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    assert result.stdout == "said\n"
    assert "a model talks\nand so do its children\n" in result.stderr


def test_a_child_sees_the_environment_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("SOME_SETTING", value)
        assert run("environment") == value


def test_an_interrupted_caller_leaves_no_child_behind() -> None:
    pids = []

    def interrupt(*_: object) -> bool:
        pids.extend(one.pid for one in psutil.Process().children(recursive=True))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("answer", wanted=interrupt)
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    assert len(alive) < len(pids)


def test_a_child_does_not_outlive_a_caller_that_is_killed() -> None:
    code = (
        "from tests.test_child import run\n"
        "if __name__ == '__main__':\n"
        "    run('hang')\n"
    )  # fmt: skip
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    process = psutil.Process(caller.pid)
    deadline = time.monotonic() + 60
    while len(process.children(recursive=True)) < 3 and time.monotonic() < deadline:  # tracker, server, child
        time.sleep(0.2)
    children = process.children(recursive=True)
    assert len(children) == 3
    time.sleep(1)
    caller.kill()
    caller.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert len(gone) == 3


def test_memory_of_one_task_is_not_there_in_the_next() -> None:
    with pytest.raises(MeasurementError):
        run("eat", Limits(seconds=120, memory=2 * GIB))
    server = [one for one in psutil.Process().children(recursive=True) if "forkserver" in " ".join(one.cmdline())]
    assert sum(one.memory_info().rss for one in server) < 1.5 * GIB


def test_limits_come_from_the_protocol_and_the_machine_unless_said() -> None:
    usual = Limits.of("screen", None, None)
    assert usual.seconds == 3600
    assert 0 < usual.memory < psutil.virtual_memory().total
    assert Limits.of("full", 1.5, 0.5) == Limits(seconds=90, memory=GIB // 2)
