"""Scans as lists, pages and the API show them. Times are ISO 8601, to the second."""

from dataclasses import dataclass
from typing import Any, Final, Literal

JobState = Literal["done", "failed", "cancelled", "queued", "running", "cancelling"]
ACTIVE_STATES: Final[tuple[JobState, ...]] = ("queued", "running", "cancelling")
"""Those of jobs that have not ended."""


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """A scan, with the number of its audits in each state; the fields are the keys of the JSON output and the API.

    ``silent_since``: the last sign of life of the running audit whose process has been silent for longest; None if all
    their processes renewed their leases recently. ``unserved``: audits are queued, and no worker with a recent
    heartbeat serves their queue. ``seconds_left``: an estimate from the audits of the scan that are done, None without.
    """

    scan: int
    source: str
    state: Literal["running", "done", "interrupted"]
    queue: str
    protocol: str | None
    device: str
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int
    worker: str | None
    silent_since: str | None
    unserved: bool
    started_at: str
    finished_at: str | None
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class ScanAudit:
    """One audit of a scan; while it runs, ``part`` is its present part, with ``part_done`` of ``part_total`` steps.

    ``silent_since``: the time of the last sign of life of its process, if that is longer ago than expected.
    """

    audit: int
    model: str
    state: JobState
    reused: bool
    attempt: int
    losses: int
    worker: str | None
    silent_since: str | None
    part: str | None
    part_done: int | None
    part_total: int | None
    reason: str | None
    started_at: str | None
    finished_at: str | None


@dataclass(frozen=True, kw_only=True)
class ScanDetail(ScanRow):
    """A scan with its audits."""

    audits: tuple[ScanAudit, ...]


@dataclass(frozen=True)
class ScanSubject:
    """What a number of audits of a scan attack: a data set, and a norm ball."""

    dataset: str
    norm: str
    eps: float
    audits: int


@dataclass(frozen=True)
class ScanSettings:
    """The request of a scan as stored, with paths of the machine that runs it."""

    source: str
    request: dict[str, Any]
    subjects: tuple[ScanSubject, ...]
