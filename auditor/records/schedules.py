"""Schedules as lists, pages and the API show them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

UNMET: Final = "a gate was not met"
"""How the reason of a run begins whose command ended so."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """A run of a schedule, with its scan and the state of that scan."""

    due_at: datetime
    state: str
    reason: str | None
    scan: int | None
    scan_state: str | None


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A schedule; ``command`` begins with ``auditor``.

    ``id`` stays the same when the schedule is replaced. ``problem``: why it can never run; ``next``: the next due time;
    None if it has a problem or is disabled.
    """

    id: int
    name: str
    cron: str
    command: tuple[str, ...]
    enabled: bool
    problem: str | None
    next: datetime | None
    last: LastRun | None
