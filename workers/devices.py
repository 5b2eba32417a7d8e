"""Which GPUs there are, and which of them a process of the pool gets; asks the driver, never torch or CUDA."""

import itertools
import os
import subprocess
from collections.abc import MutableMapping, Sequence

from auditor.machine.devices import wait_passively


def visible_gpus() -> tuple[str, ...]:
    """Numbers or UUIDs of the GPUs that CUDA_VISIBLE_DEVICES leaves, of all where it is not set."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        parts = (part.strip() for part in named.split(","))
        return tuple(itertools.takewhile(lambda part: part not in ("", "-1"), parts))  # as CUDA itself reads it
    try:
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in found.stdout.splitlines() if line.strip())


def settle(slot: int, gpus: Sequence[str], threads: int, environment: MutableMapping[str, str] = os.environ) -> str:
    """Give a process its GPU, or hide all of them, and its threads; to be called before torch is imported.

    Returns:
        What it runs on, for people: ``cpu`` or ``cuda (GPU 3)``.
    """
    environment["CUDA_VISIBLE_DEVICES"] = gpus[slot] if gpus else ""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    wait_passively(environment)
    return f"cuda (GPU {gpus[slot]})" if gpus else "cpu"
