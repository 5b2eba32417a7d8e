"""Finds GPUs and assigns them to processes of the pool. It asks the driver, because torch is not imported yet."""

import itertools
import os
from collections.abc import MutableMapping, Sequence

from auditor.machine.devices import query_nvidia_smi, wait_passively


def visible_gpus() -> tuple[str, ...]:
    """Numbers or UUIDs of the GPUs in CUDA_VISIBLE_DEVICES; of all GPUs if it is not set."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        parts = (part.strip() for part in named.split(","))
        return tuple(itertools.takewhile(lambda part: part not in ("", "-1"), parts))  # CUDA reads it the same way
    return tuple(query_nvidia_smi("index", seconds=30))


def assign_device(
    slot: int, gpus: Sequence[str], threads: int, environment: MutableMapping[str, str] = os.environ
) -> str:
    """Give a process its GPU, or hide all GPUs, and set its threads; call this before torch is imported.

    Returns:
        The device in words: ``cpu`` or ``cuda (GPU 3)``.
    """
    environment["CUDA_VISIBLE_DEVICES"] = gpus[slot] if gpus else ""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    wait_passively(environment)
    return f"cuda (GPU {gpus[slot]})" if gpus else "cpu"
