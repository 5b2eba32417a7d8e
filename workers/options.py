"""What one worker was started with; its pool's processes inherit it by their fork."""

import json
import re
from dataclasses import dataclass

from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.machine.devices import count_cores
from workers.devices import visible_gpus


@dataclass(frozen=True, kw_only=True)
class Options:
    """As ``auditor worker`` takes them.

    Attributes:
        queue: cpu or gpu.
        gpus: the numbers of the GPUs, one process each; empty for the CPU.
        processes: at once; for GPUs one each.
        threads: of torch, in each process.
        max_jobs: after so many audits a process is renewed.
        grace: seconds that running audits get to finish when the worker is told to end.
        trust_code: whether a local zoo's own Python may run here.
        log_level: what is less than this is not logged.
        events: whether to send events and answer questions through the broker, as Flower needs it.
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
    def resolve(cls, asked: str) -> "Options":
        """From JSON, with what was not said: all GPUs where there are any, else the CPU.

        Raises:
            EnvironmentUnusableError: the queue gpu is to be served, and there is no GPU.
            UsageError: a GPU is named that is none, or twice.
        """
        given = json.loads(asked)
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
    """A worker with a GPU that is not there would take every audit of the queue, and fail it."""
    if not gpus:
        raise EnvironmentUnusableError("no GPU here, as nvidia-smi sees it: name them with --gpus, or --queue cpu")
    there = visible_gpus()
    strange = [gpu for gpu in gpus if not re.fullmatch(r"\d+|(GPU|MIG)-[0-9a-fA-F/-]+", gpu)]
    unknown = [gpu for gpu in gpus if gpu.isdigit() and gpu not in (there or gpus)]
    if strange or unknown or len(set(gpus)) < len(gpus):
        known = ", ".join(there) or "none that nvidia-smi sees"
        raise UsageError(f"--gpus: expected different GPUs of this machine ({known}), got {','.join(gpus)}")
