"""The options of a worker; the processes of its pool inherit them by the fork."""

import json
import re
from dataclasses import dataclass

from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.machine.devices import count_cores
from workers.devices import visible_gpus


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of ``auditor worker``.

    Attributes:
        queue: cpu or gpu.
        gpus: the numbers of the GPUs, one process each; empty for the CPU.
        processes: how many jobs run at once; for GPUs, one per GPU.
        threads: torch's threads in each process.
        max_jobs: after this many jobs a process is replaced.
        grace: seconds that running audits get to finish when the worker ends.
        trust_code: whether Python code of local zoos, and own attacks, may run.
        log_level: the lowest level that is logged.
        events: whether to send events and answer queries through the broker, as Flower needs it.
    """

    queue: str
    gpus: tuple[str, ...]
    processes: int
    threads: int
    max_jobs: int
    grace: float
    trust_code: bool
    log_level: str = "INFO"
    events: bool = False

    @classmethod
    def resolve(cls, arguments: str) -> "Options":
        """Read options from JSON; by default, use all GPUs if the machine has any, else the CPU.

        Raises:
            EnvironmentUnusableError: the queue is gpu, and the machine has no GPU.
            UsageError: a named GPU does not exist, or is named twice.
        """
        given = json.loads(arguments)
        gpus = tuple(given["gpus"]) if given["gpus"] is not None else visible_gpus()
        queue = given["queue"] or ("gpu" if gpus else "cpu")
        if queue == "cpu":
            gpus = ()
        else:
            _check(gpus)
        processes = len(gpus) or given["processes"] or 1
        others = {name: given[name] for name in ("max_jobs", "grace", "trust_code", "log_level")}
        threads = given["threads"] or max(1, count_cores() // processes)
        return cls(
            queue=queue, gpus=gpus, processes=processes, threads=threads, events=given.get("events", False), **others
        )


def _check(gpus: tuple[str, ...]) -> None:
    """Refuse missing GPUs: a worker without its GPU would take every job of the queue, and fail it."""
    if not gpus:
        raise EnvironmentUnusableError("nvidia-smi found no GPU: name GPUs with --gpus, or use --queue cpu")
    visible = visible_gpus()
    malformed = [gpu for gpu in gpus if not re.fullmatch(r"\d+|(GPU|MIG)-[0-9a-fA-F/-]+", gpu)]
    unknown = [gpu for gpu in gpus if gpu.isdigit() and gpu not in (visible or gpus)]
    if malformed or unknown or len(set(gpus)) < len(gpus):
        known = ", ".join(visible) or "nvidia-smi found none"
        raise UsageError(f"--gpus: expected different GPUs of this machine ({known}), got {','.join(gpus)}")
