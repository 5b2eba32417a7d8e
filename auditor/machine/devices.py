"""Devices of this machine: checks of their names, numbers of threads, GPUs as nvidia-smi reports them."""

import os
import shutil
import subprocess
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

import psutil

from auditor.errors import EnvironmentUnusableError, UsageError

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""The variables by which a user chooses how OpenMP's threads wait."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY = Path("/sys/fs/cgroup/memory.max")


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make OpenMP's threads sleep while they wait for each other, unless the user chose otherwise.

    By default they spin for milliseconds on a core that another process may need: beside one busy core an audit took
    fifteen times as long. Every OpenMP, GNU's, LLVM's or Intel's, reads the environment once, when torch loads it.
    Therefore call this before torch is imported.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def count_cores() -> int:
    """Cores that this process may use: those of its affinity, limited by its container's share of CPU time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        share = int(quota) // int(period)
    except (OSError, ValueError):  # no container, or "max": no limit
        return cores
    return max(1, min(cores, share))


def count_memory() -> int:
    """Bytes of memory that this process may use: those of the machine, limited by its container."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int(MEMORY.read_text()))
    except (OSError, ValueError):  # no container, or "max": no limit
        return total


def threads_asked() -> int | None:
    """The number of threads in OMP_NUM_THREADS; None if it is not set."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def share_of_threads(processes: int) -> int | None:
    """Threads for each of ``processes``; None, torch's default, for a single process."""
    return None if processes == 1 else max(1, count_cores() // processes)


def check_device(name: str) -> str:
    """Return a device's name after checking it.

    Raises:
        UsageError: this is not the name of a device.
        EnvironmentUnusableError: this machine does not have the device.
    """
    if name == "cpu":
        return name
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"expected a device such as cpu, cuda or cuda:1, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"expected a device such as cpu, cuda or cuda:1, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentUnusableError(
            f"this machine has no device {name!r}: torch finds {torch.cuda.device_count()} GPUs"
        )
    return name


MIB = 2**20


class Gpu(NamedTuple):
    """One GPU: ``used`` and ``total`` memory in bytes, ``busy`` from 0 to 1; None if the driver does not report it."""

    number: str
    name: str
    used: int | None
    total: int | None
    busy: float | None


def find_gpus() -> list[Gpu]:
    """The GPUs of this machine; empty without a GPU, without a driver, or if the driver does not answer."""
    lines = query_nvidia_smi("index,name,memory.used,memory.total,utilization.gpu", ",nounits")
    return [gpu for line in lines if (gpu := parse(line)) is not None]


def query_nvidia_smi(columns: str, units: str = "", *, seconds: float = 10) -> list[str]:
    """What nvidia-smi reports, one line for each GPU; empty if there is no driver, or it does not answer in time."""
    program = _find_program("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={columns}", f"--format=csv,noheader{units}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in result.stdout.splitlines() if line.strip()]


def _find_program(name: str) -> str | None:
    """The path of a program; an empty or relative entry of PATH, which may be the working directory, does not count."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, entries)))


def parse(line: str) -> Gpu | None:
    """Parse ``0, NVIDIA A100-SXM4-40GB, 1234, 40960, 87``; a driver may report [N/A] in place of any number."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) < 5:
        return None
    number, *name, used, total, busy = parts
    percent = _number(busy)
    return Gpu(number, ", ".join(name), _bytes(used), _bytes(total), None if percent is None else percent / 100)


def _bytes(mebibytes: str) -> int | None:
    number = _number(mebibytes)
    return None if number is None else int(number * MIB)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
