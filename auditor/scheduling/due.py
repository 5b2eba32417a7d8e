"""Scheduled scans: finds due times, and runs their commands.

Due times are in UTC, which has no daylight saving time. CronSim computes them: it is small, maintained, and used by a
monitoring service. Celery's beat would need a state file beside the database, and would send due scans to a worker
that may be busy with an audit for hours; a loop over a table needs neither.
"""

import contextlib
import itertools
import logging
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from auditor.db import schedules
from auditor.db.schedules import (
    Run,
    Schedule,
    all_schedules,
    claim_run,
    end_run,
    find_schedule,
    last_runs,
    reclaim_lost_runs,
)
from auditor.errors import ConflictError, ExitCode, UsageError, first_line, one_line
from auditor.records.schedules import (
    ERROR_LINE,
    NAME,
    NAME_WORDS,
    UNMET,
    UNMET_LINE,
    LastRun,
    ScheduleRow,
    needs_results,
)
from auditor.text.printable import check_storable, clean_line

logger = logging.getLogger(__name__)

LATEST = timedelta(days=1)
"""A due time that is older than this is skipped: after a week off, a beat does not run all missed scans."""
LOST_AFTER = timedelta(minutes=10)
"""A run that has no scan after this time starts again, because its process was probably killed."""
POLL_SECONDS = 0.5
"""Seconds between two looks at whether a running command is to be interrupted."""
MOST_NAMED, LONGEST_NAMED = 3, 140
"""The reason of a run names so many unmet gates, with at most so many characters each."""
COMMANDS = ("scan",)
PATH_OPTIONS = ("--attack", "--data", "--junit", "--sarif", "--save-adversarials", "--transfer-zoo")
"""The options of a scan whose values are paths."""
PATH_STARTS = ("/", "~", ".", "sqlite:", "file:")
FOLDER_PLACE = 3
"""The place of a zoo's folder after ``auditor scan SOURCE``."""


class CronExpressionError(UsageError):
    """A cron expression has no due times, for example because its minute is 61."""


def check_cron(cron: str) -> None:
    """Raises UsageError if the cron expression has no due times."""
    try:
        if next_due(cron, datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise CronExpressionError("no date within fifty years")
    except CronExpressionError as error:
        expected = "expected five fields such as '0 2 * * *' (minute hour day month weekday, UTC)"
        raise UsageError(f"--cron: {expected}, got {cron[:100]!r}: {error}") from error


def check_name(name: str) -> None:
    """Raises UsageError if a schedule cannot have this name: the HTTP API must reach it, too."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"name of the schedule: expected {NAME_WORDS}, got {clean_line(name[:60])!r}")


def check_command(words: Sequence[str]) -> None:
    """Raises UsageError if the command cannot be scheduled."""
    for word in words:
        try:
            check_storable(word)
        except ValueError as error:
            raise UsageError(f"command of the schedule: {error}") from error
    if not words or words[0] not in COMMANDS:
        got = repr(shlex.join(words)) if words else "none"
        raise UsageError(f"expected a command such as `-- scan demo --protocol quick`, got {got}")
    wrong = {"--queue", "--here", "--wait", "--dry-run", "--run"} & {word.partition("=")[0] for word in words}
    if wrong:
        raise UsageError(
            f"{', '.join(sorted(wrong))} cannot be scheduled: choose with the options of `auditor beat` where scans run"
        )


def hide_paths(row: ScheduleRow) -> ScheduleRow:
    """A schedule as readers see it who may not know the paths of its machine: ``…`` stands for each of them."""
    hidden = list(row.command)
    for place, word in enumerate(row.command):
        name, equals, value = word.partition("=")
        before = row.command[place - 1] if place else ""
        is_folder = place == FOLDER_PLACE and not word.startswith("-")
        if equals and name.startswith("--") and (name in PATH_OPTIONS or value.startswith(PATH_STARTS)):
            hidden[place] = f"{name}=…"
        elif is_folder or before in PATH_OPTIONS or word.startswith(PATH_STARTS):
            hidden[place] = "…"
    return replace(row, command=tuple(hidden), last=row.last and hide_paths_of_run(row.last))


def hide_paths_of_run(run: LastRun) -> LastRun:
    """A run whose reason has ``…`` instead of absolute paths."""
    return replace(run, reason=run.reason and re.sub(r"(?<![\w/:.])(/|~/)[^\s:;,'\"]+", "…", run.reason))


def next_due(cron: str, after: datetime) -> datetime | None:
    """The first due time after ``after``. Raises CronExpressionError."""
    return _first(cron, after, reverse=False)


def next_dues(cron: str, after: datetime, number: int) -> list[datetime]:
    """The first ``number`` due times after ``after``. Raises CronExpressionError."""
    try:
        return list(itertools.islice(CronSim(cron, after), number))
    except (CronSimError, ValueError, OverflowError) as error:
        raise CronExpressionError(first_line(error)) from error


def load_schedules(engine: Engine) -> list[ScheduleRow]:
    """All schedules by name, each with its next due time and its last run."""
    last = last_runs(engine)
    return [
        ScheduleRow(
            id=schedule.id,
            name=schedule.name,
            cron=schedule.cron,
            command=("auditor", *(schedule.command or ())),
            problem=find_problem(schedule),
            enabled=schedule.enabled,
            next=next_run(schedule, datetime.now(UTC)),
            last=last.get(schedule.id),
        )
        for schedule in all_schedules(engine)
    ]


def last_due(schedule: Schedule, at: datetime) -> datetime | None:
    """The last due time up to ``at``; None if the schedule was changed after it. Raises CronExpressionError."""
    minute = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    due = _first(schedule.cron, minute, reverse=True)
    return due if due is not None and due > schedule.changed_at else None


def _first(cron: str, start: datetime, *, reverse: bool) -> datetime | None:
    try:
        return next(CronSim(cron, start, reverse=reverse), None)
    except (CronSimError, ValueError, OverflowError) as error:
        raise CronExpressionError(first_line(error)) from error


def find_problem(schedule: Schedule) -> str | None:
    """Return why a stored schedule can never run: it is of another version of auditor, or was changed by hand."""
    if schedule.command is None:
        return f"the stored command is not a list of words; {_advice(schedule)}"
    try:
        next_due(schedule.cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronExpressionError as error:
        return f"the cron expression has no due times: {error}; {_advice(schedule)}"
    return None


def _advice(schedule: Schedule) -> str:
    return f"replace it with `auditor schedule add {shlex.quote(schedule.name)} --replace …`"


def next_run(schedule: Schedule, after: datetime) -> datetime | None:
    """The next time at which a schedule runs; None if it is disabled or has a problem."""
    return next_due(schedule.cron, after) if schedule.enabled and find_problem(schedule) is None else None


def take_due(engine: Engine, at: datetime) -> Iterator[Run]:
    """Take due runs and lost runs. A run that is late by more than a day is stored as skipped, with the reason."""
    for schedule in all_schedules(engine):
        problem = find_problem(schedule) if schedule.enabled else None
        if problem is not None:
            logger.error("schedule %s: %s", schedule.name, problem)
        due = last_due(schedule, at) if schedule.enabled and problem is None else None
        if due is None:
            continue
        late = None
        if at - due > LATEST:
            late = f"late by {(at - due).total_seconds() / 3600:.0f} hours, more than {LATEST.days} day"
        run = claim_run(engine, schedule, due, skipped=late)
        if run is not None:
            yield run
    yield from reclaim_lost_runs(engine, LOST_AFTER)


def is_running(run: LastRun) -> bool:
    """Whether a run has begun whose end is still to come: its scan runs, or its process has not made one yet."""
    return run.scan_state == "running" or (run.state == "started" and run.scan is None)


def claim_run_now(engine: Engine, name: str) -> Run:
    """Claim a run of a schedule for this moment, even if the schedule is disabled.

    Raises:
        NotFoundError: the schedule does not exist.
        ConflictError: its command cannot be read, it is running, or another process has just changed it.
    """
    schedule = find_schedule(engine, name)
    if schedule.command is None:
        raise ConflictError(f"schedule {name!r}: {find_problem(schedule)}")
    return schedules.claim_run_now(engine, schedule, LOST_AFTER)


def run_schedule(engine: Engine, run: Run, local: bool, halted: threading.Event | None = None) -> str | None:
    """Run a schedule's command as a new program; the run gets at most one scan. Returns why it failed, else None.

    ``halted``: once it is set, the program is interrupted.
    """
    if run.schedule.command is None:
        return _fail(engine, run, str(find_problem(run.schedule)))
    place = ["--here"] if local else ["--queue", *(["--wait"] if needs_results(run.schedule.command) else [])]
    words = [*run.schedule.command, *place, "--run", str(run.claim)]
    name, due = run.schedule.name, run.due_at.isoformat()
    logger.info("schedule %s, due %s: auditor %s", name, due, clean_line(shlex.join(words)))
    try:
        code, lines = _run([sys.executable, "-P", "-m", "auditor", *words], halted or threading.Event())
    except (OSError, ValueError) as error:  # ValueError: a word with a NUL character, or with half of a pair
        code, lines = -1, [first_line(error)]
    if code in (0, 1, 4):  # all done, some models failed, or a gate was not met: the scan exists
        reason = describe_unmet(lines) if code == ExitCode.GATE else _last(lines)
        end_run(engine, run.claim, "done", reason if code else None)
        return None
    return _fail(engine, run, _last(lines) or f"exit code {code}")


def describe_unmet(lines: Sequence[str]) -> str:
    """The reason of a run whose gates were not met, in one line that names the first of them.

    ``lines``: what the command wrote on stderr.

    >>> describe_unmet(["gate not met: a: got 3 %", "gate not met: b: got 4 %", "error: 2 gates not met"])
    'a gate was not met, 2 times: a: got 3 %; b: got 4 %'
    """
    named = [line.removeprefix(UNMET_LINE) for line in lines if line.startswith(UNMET_LINE)]
    if not named:
        return f"{UNMET}: {_last(lines)}" if lines else UNMET
    times = f", {len(named)} times" if len(named) > 1 else ""
    more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    names = "; ".join(name if len(name) <= LONGEST_NAMED else f"{name[:LONGEST_NAMED]}…" for name in named[:MOST_NAMED])
    return one_line(f"{UNMET}{times}: {names}{more}")


def _last(lines: Sequence[str]) -> str:
    """The last line of a command, without the word that says that it is an error."""
    return one_line((lines or [""])[-1].removeprefix(ERROR_LINE))


def _fail(engine: Engine, run: Run, reason: str) -> str:
    end_run(engine, run.claim, "failed", reason)
    return reason


def _run(program: list[str], halted: threading.Event) -> tuple[int, list[str]]:
    """Run a program; returns its exit code and its lines on stderr. An interrupt, or ``halted``, ends it, too."""
    with subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            stderr = None
            while stderr is None:
                if halted.is_set():
                    process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, stderr = process.communicate(timeout=POLL_SECONDS)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    return process.returncode, stderr.strip().splitlines()


def run_due(
    engine: Engine,
    local: bool,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    halted: threading.Event | None = None,
) -> None:
    """Run all schedules that are due now.

    A command that waits for results of workers has a thread of its own, so that it delays no other schedule. Once
    ``halted`` is set, it is interrupted; its scan continues.
    """
    for run in take_due(engine, clock()):
        if not local and needs_results(run.schedule.command or ()):
            arguments = (engine, run, local, halted)
            threading.Thread(target=_run_and_log, args=arguments, name=f"schedule {run.schedule.name}").start()
        else:
            _run_and_log(engine, run, local, None)


def _run_and_log(engine: Engine, run: Run, local: bool, halted: threading.Event | None) -> None:
    try:
        reason = run_schedule(engine, run, local, halted)
    except SQLAlchemyError as error:  # in a thread nobody else would notice
        reason = f"cannot store how the run ended: {first_line(error)}"
    if reason is not None:
        logger.error("schedule %s: %s", run.schedule.name, reason)
