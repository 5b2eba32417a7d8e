"""Nightly audits: which due times there are, and the commands that are run at them.

Due times are in UTC, in which no hour comes twice or never. The arithmetic is CronSim's: small, kept, and used by a
monitoring service for just this. Celery's own beat would need a state file beside the database, and would hand its
minute to a worker that may be busy with an audit for hours; a loop over a table needs neither.
"""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError
from sqlalchemy import Engine

from auditor.db.schedules import Run, Schedule, all_schedules, claim_run, end_run, reclaim_lost_runs
from auditor.errors import UsageError, first_line, one_line

logger = logging.getLogger(__name__)

LATEST = timedelta(days=1)
"""A due time that is later than this is skipped: a beat that was away for a week does not make up for it."""
LOST_AFTER = timedelta(minutes=10)
"""A run that has become no scan for so long is run again: who took it was killed in between."""
COMMANDS = ("scan",)


def check_cron(cron: str) -> None:
    """Raises UsageError where the times are none."""
    try:
        next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        expected = "expected five fields such as '0 2 * * *' (minute hour day month weekday, UTC)"
        raise UsageError(f"--cron: {expected}, got {cron!r}: {error}") from error


def check_command(words: Sequence[str]) -> None:
    """Raises UsageError where the command is none that can be scheduled."""
    if not words or words[0] not in COMMANDS:
        got = repr(" ".join(words)) if words else "none"
        raise UsageError(f"expected a command such as `-- scan demo --protocol quick`, got {got}")
    wrong = {"--queue", "--here", "--wait", "--dry-run", "--run"} & set(words)
    if wrong:
        raise UsageError(
            f"{', '.join(sorted(wrong))} cannot be scheduled: where scans run is for `auditor beat` to say"
        )


def next_due(cron: str, after: datetime) -> datetime | None:
    """The first due time after this one."""
    return next(CronSim(cron, after), None)


def last_due(schedule: Schedule, at: datetime) -> datetime | None:
    """The last due time up to now that counts: none from before the schedule was as it is."""
    minute = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    due = next(CronSim(schedule.cron, minute, reverse=True), None)
    return due if due is not None and due > schedule.changed_at else None


def take_due(engine: Engine, at: datetime) -> Iterator[Run]:
    """Take what is due; what is late by more than a day is skipped, and said."""
    for schedule in all_schedules(engine):
        try:
            due = last_due(schedule, at) if schedule.enabled else None
        except (CronSimError, ValueError) as error:
            logger.error("schedule %s: its times are none: %r: %s", schedule.name, schedule.cron, first_line(error))
            continue
        if due is None:
            continue
        late = None
        if at - due > LATEST:
            late = f"late by {(at - due).total_seconds() / 3600:.0f} hours, more than {LATEST.days} day"
        run = claim_run(engine, schedule, due, skipped=late)
        if run is not None:
            yield run
    yield from reclaim_lost_runs(engine, LOST_AFTER)


def fire(engine: Engine, run: Run, here: bool) -> None:
    """Run a schedule's command as a program of its own; one scan at most is the run's."""
    words = [*run.schedule.command, "--here" if here else "--queue", "--run", str(run.id)]
    logger.info("schedule %s, due %s: auditor %s", run.schedule.name, run.due_at.isoformat(), " ".join(words))
    try:
        code, said = _run([sys.executable, "-P", "-m", "auditor", *words])
    except OSError as error:
        code, said = -1, first_line(error)
    if code in (0, 1, 4):  # all done, some models failed, or a gate was not met: there is a scan
        end_run(engine, run.id, "done", said if code else None)
    else:
        end_run(engine, run.id, "failed", said or f"exit code {code}")
        logger.error("schedule %s: %s", run.schedule.name, said)


def _run(program: list[str]) -> tuple[int, str]:
    """A program's exit code and its last words; when this one is interrupted, so is that, and is waited for."""
    with subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            _, said = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    return process.returncode, one_line((said.strip().splitlines() or [""])[-1])


def tick(engine: Engine, here: bool, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """One look at the clock: run all that is due."""
    for run in take_due(engine, clock()):
        fire(engine, run, here)
