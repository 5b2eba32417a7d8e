"""Names of processes, unique among the machines of a team; a machine can tell whether one of its own has ended."""

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path

import psutil


@functools.cache
def host_name() -> str:
    """The machine's name and four letters that identify its boot and PID namespace: containers may share a name."""
    identifiers = [platform.node()]
    with contextlib.suppress(OSError):
        identifiers += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return f"{platform.node()}-{hashlib.sha256(' '.join(identifiers).encode()).hexdigest()[:4]}"


def process_name(slot: int = 0) -> str:
    """``host:pid``, or ``host:pid/slot`` for every slot of a process but the first."""
    return f"{host_name()}:{os.getpid()}{f'/{slot}' if slot else ''}"


def is_gone(name: str) -> bool:
    """Whether this name belongs to a process of this machine that has ended."""
    host, _, pid = name.partition("/")[0].rpartition(":")
    return host == host_name() and pid.isdigit() and not psutil.pid_exists(int(pid))
