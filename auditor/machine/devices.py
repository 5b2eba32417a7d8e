"""Which device an audit runs on, with how many threads, and how these wait for each other."""

import os
import subprocess
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

from auditor.errors import EnvironmentUnusableError, UsageError

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""By any of these a user says how the threads of OpenMP wait."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads sleep while they wait for each other, unless the user says how they wait.

    By default they spin, for milliseconds, on a core that another process may need: beside one busy core an audit took
    fifteen times as long. OpenMP, be it GNU's, LLVM's or Intel's, reads this once, when torch loads it: to be called
    before torch is imported.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def count_cores() -> int:
    """Cores that this process may use: those of its affinity, and no more than its container's share of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        share = int(quota) // int(period)
    except (OSError, ValueError):  # no container, or none with a share: "max"
        return cores
    return max(1, min(cores, share))


def threads_asked() -> int | None:
    """Threads of each process as OMP_NUM_THREADS says; None where it does not."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def share_of_threads(processes: int) -> int | None:
    """Threads for each of so many processes; None, all of torch's choice, for one alone."""
    return None if processes == 1 else max(1, count_cores() // processes)


def check_device(name: str) -> str:
    """The device's name, once it is known to be there.

    Raises:
        UsageError: it is not the name of a device.
        EnvironmentUnusableError: this machine does not have it.
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
        raise EnvironmentUnusableError(f"no device {name!r} here: torch sees {torch.cuda.device_count()} GPUs")
    return name


MIB = 2**20


QUERY = (
    "nvidia-smi",
    "--query-gpu=index,name,memory.used,memory.total,utilization.gpu",
    "--format=csv,noheader,nounits",
)


class Gpu(NamedTuple):
    """Bytes; ``busy`` from 0 to 1. None where the driver does not say."""

    number: str
    name: str
    used: int | None
    total: int | None
    busy: float | None


def find_gpus() -> list[Gpu]:
    """Empty where there is no GPU, no driver, or it does not answer."""
    try:
        asked = subprocess.run(QUERY, capture_output=True, text=True, errors="replace", timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in asked.stdout.splitlines() if (gpu := parse(line)) is not None]


def parse(line: str) -> Gpu | None:
    """``0, NVIDIA A100-SXM4-40GB, 1234, 40960, 87``; a card may say [N/A] in place of any number."""
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
