"""Worker processes and their queues as lists show them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A process that runs audits and trainings, with its current job.

    ``seconds_silent`` is the time since its last heartbeat; ``silent_since`` is the time of that heartbeat if it is
    longer ago than expected. ``kind``, ``model`` and ``job_started_at`` are those of its
    audit or training.

    The fields are the keys of the JSON output. Times are ISO 8601, to the second.
    """

    worker: str
    host: str
    queue: str
    device: str
    kind: Literal["audit", "boost", "adapt"] | None
    audit: int | None
    training: int | None
    scan: int | None
    model: str | None
    protocol: str | None
    attempt: int | None
    part: str | None
    part_done: int | None
    part_total: int | None
    audit_started_at: str | None
    job_started_at: str | None
    started_at: str
    seen_at: str
    seconds_silent: float
    silent_since: str | None


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """The jobs of a queue, audits and trainings, and the workers that serve it.

    ``oldest_seconds``: the longest wait of a queued job. ``workers``: the names of those with a recent heartbeat.
    ``unserved``: jobs wait, and there is no such worker.
    """

    queue: str
    queued: int
    running: int
    oldest_seconds: float | None
    workers: tuple[str, ...]
    unserved: bool
