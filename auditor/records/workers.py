"""Worker processes as lists show them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A process that runs audits, with its current job; ``seconds_silent`` is the time since its last heartbeat.

    The fields are the keys of the JSON output. Times are ISO 8601, to the second.
    """

    worker: str
    queue: str
    device: str
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
    started_at: str
    seen_at: str
    seconds_silent: float
