"""Schedules as lists, pages and the API show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Names of schedules, on the command line as in the addresses of the HTTP API."""
NAME_WORDS: Final = "up to 100 letters, digits, dots, dashes and underscores, first a letter or digit"
UNMET: Final = "a gate was not met"
"""How the reason of a run begins whose command ended so."""
UNMET_LINE: Final = "gate not met: "
"""How a line begins by which a command names an unmet gate."""
ERROR_LINE: Final = "error: "
"""How the line begins by which a command says why it failed."""
OF_RESULTS: Final = ("--fail-", "--junit", "--mlflow", "--sarif")
"""How the options of a scan begin that need its results."""


@dataclass(frozen=True)
class Claim:
    """A process's claim of a schedule's run, made ``at`` this time. A later claim of the same run outdates it.

    >>> str(Claim(7, datetime(2026, 3, 29, 2, tzinfo=UTC)))
    '7@2026-03-29T02:00:00+00:00'
    >>> Claim.parse("7@2026-03-29T02:00:00+00:00") == Claim(7, datetime(2026, 3, 29, 2, tzinfo=UTC))
    True
    """

    run_id: int
    at: datetime

    def __str__(self) -> str:
        return f"{self.run_id}@{self.at.isoformat()}"

    @classmethod
    def parse(cls, text: str) -> "Claim":
        """Raises ValueError or OverflowError if the text is no claim."""
        run_id, _, at = text.partition("@")
        return cls(int(run_id), datetime.fromisoformat(at).astimezone(UTC))


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


def needs_results(command: Sequence[str]) -> bool:
    """Whether a command does something with the results of its scan, so that it has to wait for them.

    >>> needs_results(["scan", "demo", "--fail-under", "45%"]), needs_results(["scan", "demo"])
    (True, False)
    """
    return any(word.startswith(OF_RESULTS) for word in command)
