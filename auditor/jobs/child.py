"""Runs one task in a child process, so that a model that hangs, crashes or exhausts the memory ends only that process.

Children are forks of a server process that has imported torch and has run nothing else. Therefore each child starts
fast, and CUDA, which does not survive a fork, is initialized inside the child. What a model prints goes to stderr.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import psutil

from auditor import logs, tracing
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
from auditor.records import JobContext, Progress
from auditor.text.redaction import redact
from auditor.tracing.children import ChildSpans, record_over

SourceT = TypeVar("SourceT")
EntryT = TypeVar("EntryT")
RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

Task = Callable[[SourceT, EntryT, RequestT, JobContext], ResultT]
"""A function of a module, which a child process can import; :mod:`auditor.jobs.tasks` has those of auditor."""

ANSWERED = ("needs_measuring", "earlier", "models", "renew_lease", "load")
"""The methods of a job's context whose results a child waits for."""
POLL_SECONDS = 0.25
LONGEST_FOLDER = 70
PR_SET_CHILD_SUBREAPER = 36  # of Linux
_START_LOCK = threading.Lock()  # multiprocessing reads the state of all children whenever it starts one


@dataclass(frozen=True, kw_only=True)
class ChildProcess(Generic[SourceT, EntryT, RequestT, ResultT]):
    """A task that runs in a new process at each call, within limits.

    ``preload`` names modules that the server process imports once for all children, because ``multiprocessing`` takes
    names; ``threads`` is the number of torch's threads, None for torch's default.
    """

    task: Task[SourceT, EntryT, RequestT, ResultT]
    limits: Limits
    preload: tuple[str, ...] = ()
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises EnvironmentUnusableError if the path of the folder for temporary files is too long for a socket."""
        if len(tempfile.gettempdir()) > LONGEST_FOLDER:
            raise EnvironmentUnusableError(
                f"{tempfile.gettempdir()} has more than {LONGEST_FOLDER} characters, too many for the sockets of child "
                "processes: set TMPDIR to a shorter folder"
            )

    def __call__(self, source: SourceT, entry: EntryT, request: RequestT, context: JobContext) -> ResultT:
        """Run the task in a new process and return its result. Several threads may call this at once.

        Raises:
            MeasurementError: the task failed, its process crashed, or it exceeded a limit; the message says which.
        """
        starter = _start_method(self.preload)
        ours, theirs = starter.Pipe()
        call, spans = (self.task, source, entry, request), ChildSpans()
        child = starter.Process(
            target=_run_task,
            args=(theirs, dict(os.environ), logs.export_context(), tracing.is_inside(), self.threads, call),
        )
        with tracing.part("start process"), _START_LOCK, _no_main():
            child.start()
        theirs.close()
        try:
            result: ResultT = self._follow(child, ours, context, spans)
            return result
        finally:
            _kill(child)
            ours.close()
            spans.close()

    def _follow(self, child: Any, pipe: Connection, context: JobContext, spans: ChildSpans) -> Any:
        """Answer the child's messages until it has a result, and check its limits meanwhile."""
        deadline, last_check = time.monotonic() + self.limits.seconds, 0.0
        while True:
            if time.monotonic() - last_check >= POLL_SECONDS:
                last_check = time.monotonic()
                context.stopped()
                self._check_limits(child.pid, deadline)
            try:
                if not wait([pipe, child.sentinel], POLL_SECONDS):
                    continue
                if not pipe.poll(0):
                    if _exit_code(child) is not None:  # a process that the child forked may keep the pipe open
                        raise EOFError
                    continue
                kind, content = pipe.recv()
            except (EOFError, ConnectionError):
                raise MeasurementError(_describe_end(child)) from None
            if kind == "result":
                return content
            if kind == "error":
                raise MeasurementError(redact(content))
            if kind == "span":
                spans.receive(*content)
                continue
            answer = getattr(context, kind)(*content)
            if kind in ANSWERED:
                with contextlib.suppress(ConnectionError):  # the child has ended: the next loop raises the reason
                    pipe.send(answer)

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


@dataclass(frozen=True, kw_only=True)
class ChildFactory:
    """Makes every child process of auditor: each gets one of ``processes`` equal shares of this machine's memory.

    ``threads`` and ``preload`` as in :class:`ChildProcess`.
    """

    processes: int = 1
    threads: int | None = None
    preload: tuple[str, ...] = ()

    def __call__(
        self, task: Task[SourceT, EntryT, RequestT, ResultT], seconds: float, memory: int | None
    ) -> ChildProcess[SourceT, EntryT, RequestT, ResultT]:
        """The task in a child process within ``seconds``, and ``memory`` in bytes or the share of the machine."""
        limits = Limits.share(seconds, memory, self.processes)
        return ChildProcess(task=task, limits=limits, preload=self.preload, threads=self.threads)


def _start_method(preload: tuple[str, ...]) -> Any:
    """The way to start children: forks of a clean server where the system has that, else new interpreters."""
    wait_passively()  # OpenMP in the children reads the environment of the server
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    starter = multiprocessing.get_context("forkserver")
    starter.set_forkserver_preload(["auditor.jobs.preload", *preload])
    return starter


def start_server(preload: tuple[str, ...] = ()) -> None:
    """Start the server process, whose imports take seconds, and return at once."""
    if _start_method(preload).get_start_method() == "forkserver":
        with _START_LOCK, _no_main():
            importlib.import_module(
                "multiprocessing.forkserver"
            ).ensure_running()  # some systems do not have this module


def warm_up(preload: tuple[str, ...] = ()) -> None:
    """Wait until the server has imported torch, which takes seconds: before a job is claimed, this costs no lease."""
    child = _start_method(preload).Process(target=os.getpid)
    with _START_LOCK, _no_main():
        child.start()
        child.join()
        child.close()


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the main module and the working directory from children, which need neither."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        with safe_children():
            yield
    finally:
        sys.modules["__main__"] = main


def _resident(pid: int) -> int:
    """Bytes of memory that a process and its children use; 0 if the process has ended."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def _kill(child: Any) -> None:
    """Kill a child and every process that it started; all have ended when this returns."""
    descendants = _kill_descendants(child.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # its forks, if the child itself has ended
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    wait([child.sentinel])
    with _START_LOCK:
        child.join()
        child.close()
    psutil.wait_procs(descendants, timeout=10)  # on a busy machine a signal takes a while


def _kill_descendants(pid: int) -> list[psutil.Process]:
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            descendants.append(process)
            process.kill()
    return descendants


def _exit_code(child: Any) -> Any:
    with _START_LOCK:
        return child.exitcode


def _describe_end(child: Any) -> str:
    wait([child.sentinel], 10)
    code = _exit_code(child)
    if code == -signal.SIGKILL:
        return "its process was killed, most likely because the machine ran out of memory: see --memory-limit"
    if code is not None and code < 0:
        known = -code in {kind.value for kind in signal.Signals}
        return f"its process crashed: {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"its process ended unexpectedly, with exit code {code}"


def _run_task(
    pipe: Connection,
    environment: dict[str, str],
    log_context: Any,
    is_traced: bool,
    threads: int | None,
    call: tuple[Task[Any, Any, Any, Any], Any, Any, Any],
) -> None:
    """The main function of a child process."""
    _set_up_process(environment, log_context)
    if is_traced:
        record_over(lambda message: pipe.send(("span", message)))
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    task, source, entry, request = call
    try:
        pipe.send(("result", task(source, entry, request, _job_context(pipe))))
    except BaseException as error:  # a model is other people's code: whatever it raises is its failure
        logs.show_traceback(error)
        pipe.send(("error", _reason(error, getattr(source, "folder", None))))
    pipe.poll(None)  # the parent kills this process, and needs it alive to find the processes that the model started


def _reason(error: BaseException, folder: Path | None) -> str:
    """One line, with the file and line where the model's own code raised the error."""
    text = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
    cause, place = error.__cause__, place_of(error, folder)
    if not place or place in text or place.rpartition("/")[2] in text:
        return text
    kind = f"{type(cause).__name__} " if isinstance(error, AuditorError) and cause is not None else ""
    return f"{text} ({kind}at {place})"


def _job_context(pipe: Connection) -> JobContext:
    """A context whose methods run in the parent: each call is sent over the pipe."""

    def request(method: str, *arguments: object) -> Any:
        pipe.send((method, arguments))
        return pipe.recv()

    return JobContext(
        progress=_throttled(pipe),
        needs_measuring=lambda identity: request("needs_measuring", identity),
        earlier=lambda: request("earlier"),
        models=lambda: request("models"),
        renew_lease=lambda: request("renew_lease"),
        load=lambda key: request("load", key),
        save=lambda key, state: pipe.send(("save", (key, state))),
    )


def _throttled(pipe: Connection) -> Progress:
    """Send progress at most ten times a second; a new part is sent at once."""
    last, part = 0.0, ""

    def send(name: str, done: int, total: int) -> None:
        nonlocal last, part
        now = time.monotonic()
        if name != part or done >= total or now - last > 0.1:
            last, part = now, name
            pipe.send(("progress", (name, done, total)))

    return send


def _set_up_process(environment: dict[str, str], log_context: Any) -> None:
    """End with the parent, leave Ctrl-C to it, use its environment, and print nothing on its stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setsid"):
        os.setsid()  # a new process group, by which its forks are found
    _adopt_orphans()
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout.flush()
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # libraries address these to programmers
    logs.import_context(log_context, logging.ERROR)
    with contextlib.suppress(OSError):  # Linux: when memory runs out, the kernel kills this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _adopt_orphans() -> None:
    """Linux: orphans of the processes that a model starts become children of this process, and end with it."""
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
