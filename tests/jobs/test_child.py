"""A task in a child process: what it answers, how it may fail, and that nothing of it is left."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from auditor.errors import EnvironmentUnusableError, MeasurementError, UsageError
from auditor.jobs.child import Task
from auditor.jobs.limits import GIB, Limits
from auditor.records import JobContext
from tests.factories import children
from tests.factories.children import PLENTY, child, run

OF_THE_CALLER = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
"""Children do not import from the working directory, so the folder of the tests' tasks is named."""
PLACE = r"\(at factories/children\.py:\d+\)"


def test_a_task_gets_its_arguments_asks_back_and_answers() -> None:
    told, asked = [], []
    *given, needed, pid = run(children.answer, progress=lambda *step: told.append(step), needs_measuring=asked.append)
    assert given == ["a source", "an entry", "a request"]
    assert (told, asked, needed) == ([("first", 0, 2), ("first", 2, 2)], ["an identity"], None)
    assert pid != os.getpid()
    assert not psutil.pid_exists(pid)


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "limits", "reason"),
    [
        (
            children.hang,
            Limits(seconds=1.5, memory=64 * GIB),
            r"took longer than 0.025 minutes and was stopped: see --t",
        ),
        (children.eat, Limits(seconds=120, memory=2 * GIB), r"used 2\.\d GiB of memory, more than the 2.0 allowed"),
        (children.be_killed, PLENTY, r"was killed, most likely because the machine ran out of memory"),
        (children.crash, PLENTY, r"crashed: SIGSEGV"),
        (children.fork_and_crash, PLENTY, r"crashed: SIGABRT"),
        (children.die_of_a_signal_without_a_name, PLENTY, r"crashed: signal 40"),
        (children.interrupt_itself, PLENTY, rf"^KeyboardInterrupt: KeyboardInterrupt {PLACE}$"),
        (children.say_too_much, PLENTY, rf"^ValueError: x{{500}}… {PLACE}$"),
        (children.leave, PLENTY, r"ended unexpectedly, with exit code 7"),
        (children.refuse, PLENTY, r"^cannot read the weights$"),
        (children.stumble, PLENTY, rf"^ZeroDivisionError: somewhere in a model {PLACE}$"),
        (children.unpicklable, PLENTY, r"pickle"),
        (children.deep, PLENTY, r"RecursionError"),
    ],
)
def test_whatever_ends_a_task_is_one_error_and_the_next_task_runs(task: Task, limits: Limits, reason: str) -> None:
    with pytest.raises(MeasurementError, match=reason) as caught:
        run(task, limits)
    assert "\n" not in str(caught.value)
    assert run(children.answer)[0] == "a source"


@pytest.mark.long
def test_what_a_task_prints_goes_to_stderr() -> None:
    code = (
        "from tests.factories.children import chatter, run\n"
        "if __name__ == '__main__':\n"
        "    print(run(chatter))\n"
    )  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=OF_THE_CALLER)
    assert result.stdout == "said\n"
    assert "a model talks\nand so do its children\n" in result.stderr


def test_a_child_sees_the_environment_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("SOME_SETTING", value)
        assert run(children.environment) == value


def test_an_interrupted_caller_leaves_no_child_behind() -> None:
    pids = []

    def interrupt(*_: object) -> bool:
        pids.extend(one.pid for one in psutil.Process().children(recursive=True))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(children.answer, needs_measuring=interrupt)
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    assert len(alive) < len(pids)


@pytest.mark.long
def test_a_child_does_not_outlive_a_caller_that_is_killed() -> None:
    code = (
        "from tests.factories.children import hang, run\n"
        "if __name__ == '__main__':\n"
        "    run(hang)\n"
    )  # fmt: skip
    caller = subprocess.Popen([sys.executable, "-c", code], env=OF_THE_CALLER)
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


def _gone(pids: list[int]) -> bool:
    """Whether all have ended; some machines' first process never buries the dead."""
    deadline = time.monotonic() + 30
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(_lives(pid) for pid in pids)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.long
def test_what_a_task_forked_ends_with_it_daemons_too(tmp_path: Path) -> None:
    forked = child(children.leave_daemons)(None, None, str(tmp_path / "pids"), JobContext())
    daemon = int((tmp_path / "pids").read_text())
    assert daemon in forked
    assert _gone(forked)


@pytest.mark.long
def test_what_a_task_forked_does_not_outlive_a_caller_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from tests.factories.children import leave_daemons_and_hang, run\n"
        f"run(leave_daemons_and_hang, request={str(tmp_path / 'pids')!r})\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], env=OF_THE_CALLER)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    pids = [one.pid for one in psutil.Process(caller.pid).children(recursive=True)]
    assert int((tmp_path / "pids").read_text()) in pids
    caller.kill()
    caller.wait()
    assert _gone(pids)


def test_a_task_saves_and_loads_in_order() -> None:
    saved: dict[str, bytes] = {}
    assert run(children.count_on, request=5, load=saved.get, save=saved.__setitem__) == 5
    assert run(children.count_on, request=5, load=saved.get, save=saved.__setitem__) == 10
    assert saved == {"number": b"10", "payload": b"x" * 1_000_000}


def test_a_task_that_dies_while_it_is_answered_is_said_to_have_died() -> None:
    def kill_child(_: str) -> bool:
        server = psutil.Process().children()
        for one in [below for up in server for below in up.children()]:
            one.kill()
            one.wait(10)
        return True

    with pytest.raises(MeasurementError, match="was killed"):
        run(children.answer, needs_measuring=kill_child)


def _refuse(*_: object) -> Any:
    raise KeyError("the database is gone")


@pytest.mark.parametrize("part", ["load", "save"])
def test_what_load_and_save_raise_ends_the_task(part: str) -> None:
    with pytest.raises(KeyError, match="the database is gone"):
        run(children.count_on, request=5, **{part: _refuse})


@pytest.mark.long
def test_a_task_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    forked: list[int] = []

    def stopped() -> None:
        if (tmp_path / "pids").exists():
            forked.append(int((tmp_path / "pids").read_text()))
            server = psutil.Process().children()
            forked.extend(one.pid for up in server for child in up.children() for one in [child, *child.children()])
            raise InterruptedError("not wanted any more")

    with pytest.raises(InterruptedError, match="not wanted any more"):
        run(children.leave_daemons_and_hang, request=str(tmp_path / "pids"), stopped=stopped)
    assert len(set(forked)) >= 3  # itself, what it forked, and the daemon
    assert not any(_lives(pid) for pid in forked)


@pytest.mark.long
def test_tasks_run_side_by_side() -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: run(children.answer, request=number), range(32)))
        crashes = list(threads.map(lambda task: _reason(task), 8 * [children.leave, children.crash]))
    assert [answer[2] for answer in answers] == list(range(32))
    assert len({answer[-1] for answer in answers}) == 32
    assert [("code 7" in said, "SIGSEGV" in said) for said in crashes] == 8 * [(True, False), (False, True)]
    assert sys.modules["__main__"].__name__ == "__main__"


def _reason(task: Task) -> str:
    with pytest.raises(MeasurementError) as caught:
        run(task)
    return str(caught.value)


@pytest.mark.parametrize("limits", [(float("nan"), None), (None, float("inf")), (None, float("nan"))])
def test_limits_are_finite(limits: tuple[float | None, float | None]) -> None:
    with pytest.raises(UsageError, match="expected a number of"):
        Limits.of("quick", *limits)


def test_a_folder_for_temporary_files_that_no_socket_fits_into_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "long" * 25)
    with pytest.raises(EnvironmentUnusableError, match="set TMPDIR to a shorter folder"):
        child(children.answer)


@pytest.mark.long
def test_memory_of_one_task_is_not_there_in_the_next() -> None:
    with pytest.raises(MeasurementError):
        run(children.eat, Limits(seconds=120, memory=2 * GIB))
    server = [one for one in psutil.Process().children(recursive=True) if "forkserver" in " ".join(one.cmdline())]
    assert sum(one.memory_info().rss for one in server) < 1.5 * GIB


def test_limits_come_from_the_protocol_and_the_machine_unless_said() -> None:
    usual = Limits.of("screen", None, None)
    assert usual.seconds == 3600
    assert 0 < usual.memory < psutil.virtual_memory().total
    assert Limits.of("full", 1.5, 0.5) == Limits(seconds=90, memory=GIB // 2)
