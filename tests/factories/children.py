"""Tasks for child processes to do: each misbehaves in its own way."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from auditor.errors import ModelLoadError
from auditor.jobs.child import ChildProcess, Task
from auditor.jobs.limits import GIB, Limits
from auditor.records import JobContext


def answer(source, entry, request, context):
    context.progress("first", 0, 2)
    context.progress("first", 2, 2)
    return [source, entry, request, context.needs_measuring("an identity"), os.getpid()]


def count_on(_, __, request, context):
    """Count on from the saved number and save each number; return at a multiple of ``request``."""
    while True:
        number = int(context.load("number") or b"0") + 1
        context.save("number", b"%d" % number)
        context.save("payload", b"x" * 1_000_000)
        if number % request == 0:
            return number


def hang(*_):
    time.sleep(3600)


def eat(*_):
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.01)


def be_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def crash(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(*_):
    os._exit(7)


def refuse(*_):
    raise ModelLoadError("cannot read the weights")


def stumble(*_):
    raise ZeroDivisionError("somewhere in a model")


def chatter(*_):
    print("a model talks")
    sys.stdout.flush()
    subprocess.run(["echo", "and so do its children"], check=True)
    return "said"


def environment(*_):
    return os.environ.get("SOME_SETTING")


def unpicklable(*_):
    return lambda: None


def deep(*_):
    return deep()


def fork_and_crash(*_):
    if os.fork() == 0:
        time.sleep(3600)
    os.abort()


def leave_daemons(_, __, request, ___):
    """Fork a child that stays, and one that leaves its session and its parent; return their process IDs."""
    if os.fork() == 0:
        time.sleep(3600)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        Path(request).write_text(f"{os.getpid()}\n")
        time.sleep(3600)
    while not Path(request).exists():
        time.sleep(0.01)
    return [one.pid for one in psutil.Process().children(recursive=True)]


def leave_daemons_and_hang(*arguments):
    leave_daemons(*arguments)
    time.sleep(3600)


def interrupt_itself(*_):
    raise KeyboardInterrupt


def die_of_a_signal_without_a_name(*_):
    os.kill(os.getpid(), 40)


def say_too_much(*_):
    raise ValueError("x" * 1_000_000 + "\0\x1b[31m\udcff")


def measure_and_be_killed(source, entry, request, context):
    """Save after each batch; the process kills itself after SAVES_BEFORE_THE_END saves."""
    from auditor.attacks import progress
    from auditor.audit.task import measure

    progress.SAVE_SECONDS = 0.0
    left = int(os.environ["SAVES_BEFORE_THE_END"])

    def save(key, state):
        nonlocal left
        context.save(key, state)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return measure(source, entry, request, replace(context, save=save))


def threads(*_):
    """OpenMP's variables in the server's environment and in this process's, and the number of threads.

    The server loaded OpenMP, so its variables decide how threads wait."""
    import torch

    server = Path(f"/proc/{os.getppid()}/environ").read_text().split("\0")
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
    found = dict(line.split("=", 1) for line in server if line.partition("=")[0] in names)
    own = {name: os.environ[name] for name in names if name in os.environ}
    return found, own, torch.get_num_threads()


PLENTY = Limits(seconds=120, memory=64 * GIB)


def child(task: Task, limits: Limits = PLENTY) -> ChildProcess:
    return ChildProcess(task=task, limits=limits)


def run(task: Task, limits: Limits = PLENTY, request: object = "a request", **context: Any) -> Any:
    return child(task, limits)("a source", "an entry", request, JobContext(**context))
