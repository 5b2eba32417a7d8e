"""Boosts and adaptations as lists and pages show them."""

from dataclasses import dataclass
from typing import Any, Literal

from auditor.records.scans import JobState

Kind = Literal["boost", "adapt"]


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """A boost or an adaptation; while it runs, ``part`` is its present part: ``part_done`` of ``part_total`` steps.

    The fields are the keys of the JSON output. Times are ISO 8601, to the second.

    Attributes:
        silent_since: the time of the last sign of life of its process, if that is longer ago than expected.
        unserved: it is queued, and no worker with a recent heartbeat serves its queue.
        history: the epochs of a boost so far, as stored; see :class:`auditor.records.boosts.EpochScore`.
        request: the request as stored.
        result: the result of an adaptation as stored; see :class:`auditor.records.adaptations.AdaptResult`.
    """

    id: int
    state: JobState
    kind: Kind
    model: str
    queue: str
    attempt: int
    losses: int
    worker: str | None
    silent_since: str | None
    unserved: bool
    reason: str | None
    history: list[dict[str, Any]]
    request: dict[str, Any]
    result: dict[str, Any] | None
    seconds: float | None
    queued_at: str
    started_at: str | None
    finished_at: str | None
    part: str | None
    part_done: int | None
    part_total: int | None
