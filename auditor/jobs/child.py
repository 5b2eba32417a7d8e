"""One measurement in a child process: a model that hangs, crashes or eats all memory ends alone.

The children are forks of a server that has imported torch and run nothing, so each starts in a moment, and CUDA,
which does not survive a fork, is first touched inside. What a model prints goes to stderr.
"""

import contextlib
import ctypes
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from auditor import logs
from auditor.errors import (
    AuditorError,
    EnvironmentUnusableError,
    MeasurementError,
    MemoryLimitError,
    first_line,
    place_of,
)
from auditor.interpreter import safe_children
from auditor.jobs.limits import GIB, Limits
from auditor.machine.devices import wait_passively
from auditor.records import JobContext, Measurement, Progress, ZooEntry
from auditor.text.redaction import redact
from auditor.zoo import Source

POLL_SECONDS = 0.25
LONGEST_FOLDER = 70
PR_SET_CHILD_SUBREAPER = 36  # of Linux
_ONE_AT_A_TIME = threading.Lock()  # multiprocessing, when it starts a child, looks how all others are


@dataclass(frozen=True, kw_only=True)
class ChildProcess:
    """A task on one model, each call in a process of its own, within limits.

    ``task`` names the function: ``auditor.audit.task.measure`` or one of the same arguments. ``preload`` names modules
    that the server imports once for all children; ``threads`` are torch's, all for None.
    """

    limits: Limits
    task: str = "auditor.audit.task.measure"
    preload: tuple[str, ...] = ()
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises EnvironmentUnusableError where no socket fits into the folder for temporary files."""
        if len(tempfile.gettempdir()) > LONGEST_FOLDER:
            raise EnvironmentUnusableError(
                f"{tempfile.gettempdir()} has more than {LONGEST_FOLDER} characters, too many for the sockets of child "
                "processes: set TMPDIR to a shorter folder"
            )

    def __call__(self, source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> Any:
        """Do the task on one model, and return what it returns; from as many threads at once as one likes.

        Raises:
            MeasurementError: it failed, crashed, or went over a limit; the message says which.
        """
        starter = _start_method(self.preload)
        ours, theirs = starter.Pipe()
        child = starter.Process(
            target=_work,
            args=(theirs, dict(os.environ), logs.export_context(), self.task, self.threads, source, entry, request),
        )
        with _ONE_AT_A_TIME, _no_main():
            child.start()
        theirs.close()
        try:
            return self._follow(child, ours, context)
        finally:
            _kill(child)
            ours.close()

    def _follow(self, child: Any, pipe: Connection, context: JobContext) -> Any:
        """Listen to the child until it is done, and watch its limits."""
        deadline, looked = time.monotonic() + self.limits.seconds, 0.0
        while True:
            if time.monotonic() - looked >= POLL_SECONDS:
                looked = time.monotonic()
                context.stopped()
                self._check_limits(child.pid, deadline)
            try:
                if not wait([pipe, child.sentinel], POLL_SECONDS):
                    continue
                if not pipe.poll(0):
                    if _exit_code(child) is not None:  # a fork of it may keep the pipe open
                        raise EOFError
                    continue
                kind, content = pipe.recv()
            except (EOFError, ConnectionError):
                raise MeasurementError(_how_it_ended(child)) from None
            if kind == "progress":
                context.progress(*content)
            elif kind in ("wanted", "load"):
                answer = getattr(context, kind)(content)
                with contextlib.suppress(ConnectionError):  # it has ended: the next look says how
                    pipe.send(answer)
            elif kind == "save":
                context.save(*content)
            elif kind == "failed":
                raise MeasurementError(redact(content))
            else:
                return content

    def _check_limits(self, pid: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise MeasurementError(
                f"took longer than {self.limits.seconds / 60:g} minutes and was stopped: see --time-limit"
            )
        used = _resident(pid)
        if used > self.limits.memory:
            raise MemoryLimitError(
                f"used {used / GIB:.1f} GiB of memory, more than the {self.limits.memory / GIB:.1f} allowed, and was "
                "stopped: see --memory-limit and AUDITOR_BATCH_SIZE"
            )


def _start_method(preload: tuple[str, ...]) -> Any:
    """Forks of a clean server where there is such a thing, else new interpreters."""
    wait_passively()  # the server's environment is the one that its children's OpenMP reads
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    starter = multiprocessing.get_context("forkserver")
    starter.set_forkserver_preload(["auditor.jobs.preload", *preload])
    return starter


def start_server(preload: tuple[str, ...] = ()) -> None:
    """Let the server of children begin with its imports, which take seconds, and return at once."""
    if _start_method(preload).get_start_method() == "forkserver":
        with _ONE_AT_A_TIME, _no_main():
            importlib.import_module("multiprocessing.forkserver").ensure_running()  # not there on every system


def warm_up(preload: tuple[str, ...] = ()) -> None:
    """Return once the server has imported torch: seconds in which no model need wait, and no lease run."""
    child = _start_method(preload).Process(target=os.getpid)
    with _ONE_AT_A_TIME, _no_main():
        child.start()
        child.join()
        child.close()


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Children need nothing of the program that starts them, nor of its working directory."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        with safe_children():
            yield
    finally:
        sys.modules["__main__"] = main


def _resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold; 0 once it is gone."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def _kill(child: Any) -> None:
    """End a child and all that it started; nothing of it is left when this returns."""
    below = _kill_descendants(child.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what it forked, where it is gone itself
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    wait([child.sentinel])
    with _ONE_AT_A_TIME:
        child.join()
        child.close()
    psutil.wait_procs(below, timeout=10)  # a signal is on its way for a while where a machine is busy


def _kill_descendants(pid: int) -> list[psutil.Process]:
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        for one in psutil.Process(pid).children(recursive=True):
            below.append(one)
            one.kill()
    return below


def _exit_code(child: Any) -> Any:
    with _ONE_AT_A_TIME:
        return child.exitcode


def _how_it_ended(child: Any) -> str:
    wait([child.sentinel], 10)
    code = _exit_code(child)
    if code == -signal.SIGKILL:
        return "its process was killed, most likely because the machine ran out of memory: see --memory-limit"
    if code is not None and code < 0:
        known = -code in {kind.value for kind in signal.Signals}
        return f"its process crashed: {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"its process ended unexpectedly, with exit code {code}"


def _work(
    pipe: Connection,
    environment: dict[str, str],
    export_context: Any,
    task: str,
    threads: int | None,
    source: Source,
    entry: ZooEntry,
    request: Measurement,
) -> None:
    """What the child does."""
    _settle(environment, export_context)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)

    context = _job_context(pipe)
    try:
        module, _, function = task.rpartition(".")
        found = getattr(importlib.import_module(module), function)(source, entry, request, context)
        pipe.send(("done", found))
    except BaseException as error:  # a model is other people's code: whatever it raises is its failure
        logs.show_traceback(error)
        pipe.send(("failed", _reason(error, getattr(source, "folder", None))))
    pipe.poll(None)  # the parent ends this process, and while it lives finds all that the model started


def _reason(error: BaseException, folder: Path | None) -> str:
    """One line, with the place where a model's own code raised it."""
    said = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
    cause, place = error.__cause__, place_of(error, folder)
    if not place or place in said:
        return said
    kind = f"{type(cause).__name__} " if isinstance(error, AuditorError) and cause is not None else ""
    return f"{said} ({kind}at {place})"


def _job_context(pipe: Connection) -> JobContext:
    """What a task says and asks goes over the pipe, in this order."""

    def ask(kind: str, content: str) -> Any:
        pipe.send((kind, content))
        return pipe.recv()

    return JobContext(
        progress=_throttled(pipe),
        wanted=lambda identity: ask("wanted", identity),
        load=lambda key: ask("load", key),
        save=lambda key, state: pipe.send(("save", (key, state))),
    )


def _throttled(pipe: Connection) -> Progress:
    """Tell of progress ten times a second at most, of a new part at once."""
    last, part = 0.0, ""

    def tell(name: str, done: int, total: int) -> None:
        nonlocal last, part
        now = time.monotonic()
        if name != part or done >= total or now - last > 0.1:
            last, part = now, name
            pipe.send(("progress", (name, done, total)))

    return tell


def _settle(environment: dict[str, str], export_context: Any) -> None:
    """Behave as a child: die with the parent, leave Ctrl-C to it, print nothing on its stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, by which its forks are found
    _adopt_orphans()
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout.flush()
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # what libraries say to their programmers
    logs.import_context(export_context, logging.ERROR)
    with contextlib.suppress(OSError):  # Linux: when memory runs out, this process goes first, not the one that stores
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _adopt_orphans() -> None:
    """Linux: what a model's daemons leave behind stays below this process, and ends with it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _kill_descendants(os.getpid())
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)
