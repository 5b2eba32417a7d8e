"""Schedules as lists, pages and the API show them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The newest run of a schedule, with its scan and the state of that scan."""

    due_at: datetime
    state: str
    reason: str | None
    scan: int | None
    scan_state: str | None


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A schedule; ``command`` begins with ``auditor``; ``next`` is the next due time, None if it is disabled."""

    name: str
    cron: str
    command: tuple[str, ...]
    enabled: bool
    next: datetime | None
    last: LastRun | None
