"""``auditor schedule``: schedules of scans, which ``auditor beat`` runs."""

import contextlib
import copy
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.options import QUEUE, parse_options
from auditor.records.sources import is_repository

if TYPE_CHECKING:
    from auditor.records.schedules import LastRun, ScheduleRow

NAME = click.argument("name", metavar="NAME")
CODE = ("trust_code", "attack_files")
"""Parameters of a scan that run code of a machine."""
MLFLOW = "mlflow_uri"


@click.group("schedule", cls=Group)
def command() -> None:
    """Add, list, run and remove schedules of scans; `auditor beat` runs them."""


@command.command(context_settings={"ignore_unknown_options": True})
@NAME
@click.option(
    "--cron",
    required=True,
    metavar="TIMES",
    help="Run at these times: minute, hour, day, month and weekday in UTC, e.g. '0 2 * * *'.",
)
@click.option("--replace", is_flag=True, help="Replace the schedule if the name exists.")
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
def add(name: str, cron: str, replace: bool, words: tuple[str, ...]) -> None:
    """Add a schedule for COMMAND, which is an auditor command after two dashes.

    Relative paths of COMMAND are stored as absolute paths. If a due time was missed by less than a day, the command
    runs once, late. If it was missed by more, it is skipped.

    \b
    Examples:
      auditor schedule add nightly --cron '0 2 * * *' -- scan robustbench --dataset cifar10 --protocol standard
      auditor schedule add demo --cron '*/30 * * * *' -- scan demo --reverify 2
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.progress import say
    from auditor.db.schedules import add_schedule
    from auditor.scheduling.due import check_command, check_cron, check_name, next_due

    check_name(name)
    check_cron(cron)
    check_command(words)
    words = (words[0], *_with_absolute_paths(words[1:]))
    for path in _check_scan(words[1:]):
        say(f"warning: {path} does not exist on this machine; it is looked up on the machine that runs the scan")
    add_schedule(open_database(), name, cron, words, replace=replace)
    due = next_due(cron, datetime.now(UTC))
    when = f"next due at {due:%Y-%m-%d %H:%M} UTC; `auditor beat` runs it" if due else "never due"
    say(f"schedule {name}: {when}")


def _check_scan(words: Sequence[str]) -> list[str]:
    """Parse the options of a scan, and look its models up. Return the paths that do not exist on this machine.

    Such paths are not an error, because they may be on the machine that runs the scan alone. Files with attacks are:
    their digest is computed.

    Raises:
        UsageError: `auditor scan` would refuse the options or find no model.
    """
    from auditor.cli.output.adversarials import check_attacks
    from auditor.cli.output.progress import say
    from auditor.cli.scan import ScanOptions
    from auditor.errors import EnvironmentUnusableError, UsageError
    from auditor.scans.threat_models import check_options, entries_under
    from auditor.zoo import find_source

    command, parameters = _parse_scan(words)
    must_exist = [
        parameters[str(one.name)] for one in command.params if isinstance(one.type, AnyPath) and one.type.read
    ]
    missing = [str(path) for path in must_exist if path is not None and not path.exists()]
    if parameters["source"] == "hub":
        missing = [path for path in missing if not is_repository(path)]
    options = parse_options(ScanOptions, parameters)
    options.gates.check_protocol(options.audit.protocol, curve=options.audit.curve)
    if options.gates.sequential:
        raise UsageError("--sequential cannot be scheduled: nights are compared on the same images; leave it out")
    check_attacks(options.save_adversarials, options.audit.protocol)
    audit, filters = options.audit, options.filters
    request = audit.make_request("cpu", options.save_adversarials)  # the device is that of the machine that runs it
    folder, data = audit.folder, audit.data
    if options.source != "checkpoint" and (folder is None or folder.exists()):
        with contextlib.suppress(EnvironmentUnusableError):  # the package may be on the other machine alone, too
            entries = filters.select_entries(find_source(options.source, folder, trust_code=audit.trust_code))
            if data is None or data.exists():  # they decide whether corruptions can be measured
                entries = entries_under(entries, options.norm, options.eps, filters.threat_model, data)
                for left_out in check_options(entries, request.measurement):
                    say(left_out)
    return missing


class AnyPath(click.Path):
    """A path that need not exist on this machine; ``read``: whether the scan reads it."""

    def __init__(self, like: click.Path) -> None:
        super().__init__(path_type=Path)
        self.read = like.exists


def _parse_scan(words: Sequence[str]) -> tuple[click.Command, dict[str, Any]]:
    """Parse the options of a scan without looking for its paths. Raises UsageError."""
    from auditor.cli.choice import describe_usage_error
    from auditor.cli.scan import command as scan
    from auditor.errors import UsageError

    if "--help" in words or "-h" in words:  # click would print it
        raise UsageError("--help cannot be scheduled")
    command = copy.copy(scan)
    command.params = [copy.copy(one) for one in scan.params]
    for one in command.params:
        if isinstance(one.type, click.Path):
            one.type = AnyPath(one.type)
    try:
        return command, command.make_context("scan", list(words)).params
    except click.UsageError as error:
        raise UsageError(f"command of the schedule: {describe_usage_error(error)}") from error


def _absolute(parameter: click.Parameter, word: str) -> str:
    """The value of a parameter, made absolute if it is a path or the place of a store. Raises UsageError."""
    from auditor.network.mlflow import absolute_uri

    if parameter.name == MLFLOW:
        return absolute_uri(word)
    is_path = isinstance(parameter.type, click.Path) or parameter.name == "attack_files"
    return str(Path(word).absolute()) if is_path else word


def _with_absolute_paths(words: Sequence[str]) -> list[str]:
    """The words of a scan with absolute paths, because `auditor beat` runs in another folder."""
    command, _ = _parse_scan(words)
    options = {
        name: one
        for one in command.params
        if isinstance(one, click.Option)
        for name in (*one.opts, *one.secondary_opts)
    }
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    made: list[str] = []
    expected: click.Parameter | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if expected is None and name in options:
            option = options[name]
            if equals:
                word = f"{name}={_absolute(option, value)}"
            expected = None if equals or getattr(option, "is_flag", False) else option
        else:
            word = _absolute(expected if expected is not None else arguments.pop(0), word)
            expected = None
        made.append(word)
    return made


def check_remote_scan(words: Sequence[str]) -> None:
    """Check the options of a scan that is scheduled over HTTP: as ``add`` does, and without paths and code.

    A token must not decide which files of the beat's machine are read, written or run.

    Raises:
        UsageError: `auditor schedule add` would refuse the options, or they name a path, or trust code.
    """
    from auditor.errors import UsageError
    from auditor.network.mlflow import is_local

    command, given = _parse_scan(words)
    local = [one for one in command.params if isinstance(one.type, click.Path) or one.name in CODE]
    if given[MLFLOW] is not None and is_local(given[MLFLOW]):
        local += [one for one in command.params if one.name == MLFLOW]
    wrong = [str(one.get_error_hint(None)) for one in local if given[str(one.name)]]
    if given["source"] == "local" or wrong:
        what = wrong[0] if wrong else "a local zoo"
        raise UsageError(
            f"{what} names files or code of a machine, which cannot be scheduled over HTTP; "
            "run `auditor schedule add` on that machine"
        )
    _check_scan(words)


@command.command("list")
@list_options()
def list_(listing: Listing) -> None:
    """List schedules: when each is due, and how its last run ended.

    \b
    Examples:
      auditor schedule list
      auditor schedule list --format json
      auditor schedule list --filter enabled=true --sort next_due_at
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_table
    from auditor.scheduling.due import load_schedules

    def print_rows(chosen: "Sequence[ScheduleRow]") -> None:
        columns = ["schedule", "cron", "next due", "last run", "command"]
        print_table(columns, [_cells(row) for row in chosen], optional=("cron",))

    nothing = "no schedules; `auditor schedule add` adds one"
    listing.print(load_schedules(open_database()), print_rows, nothing=nothing, keys=_KEYS, values=_flatten)


_KEYS = (
    "schedule", "enabled", "cron", "command", "problem", "next_due_at", "last_due_at", "last_state", "last_scan",
    "last_scan_state", "last_reason",
)  # fmt: skip


def _flatten(row: "ScheduleRow") -> dict[str, Any]:
    last = row.last
    due = (_minute(row.next) if row.next else None, _minute(last.due_at) if last else None)
    run = (last.state, last.scan, last.scan_state, last.reason) if last else (None,) * 4
    values = (row.name, row.enabled, row.cron, list(row.command[1:]), row.problem, *due, *run)
    return dict(zip(_KEYS, values, strict=True))


def _cells(row: "ScheduleRow") -> list[str]:
    from auditor.cli.output.tables import ago

    due = ago(row.next) if row.next else "never" if row.enabled else "off"
    if row.problem:
        due += f": {row.problem}"
    return [row.name, row.cron, due, _describe_run(row.last), shlex.join(row.command[1:])]


def _describe_run(run: "LastRun | None") -> str:
    from auditor.cli.output.tables import ago

    if run is None:
        return "none"
    scan = f", scan {run.scan} {run.scan_state}" if run.scan else ""
    return f"{ago(run.due_at)}: {run.state}{scan}{f': {run.reason}' if run.reason else ''}"


def _minute(time: datetime) -> str:
    return time.isoformat(timespec="minutes")


@command.command()
@NAME
def remove(name: str) -> None:
    """Remove a schedule; its scans are kept.

    \b
    Examples:
      auditor schedule remove nightly
    """
    from auditor.cli.db import open_database
    from auditor.db.schedules import remove_schedule

    remove_schedule(open_database(), name)


@command.command()
@NAME
def enable(name: str) -> None:
    """Enable a schedule; due times that passed while it was disabled are skipped.

    \b
    Examples:
      auditor schedule enable nightly
    """
    from auditor.cli.db import open_database
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_database(), name, enabled=True)


@command.command()
@NAME
def disable(name: str) -> None:
    """Disable a schedule without removing it.

    \b
    Examples:
      auditor schedule disable nightly
    """
    from auditor.cli.db import open_database
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_database(), name, enabled=False)


@command.command("run-now")
@NAME
@QUEUE
def run_now(name: str, queued: bool | None) -> None:
    """Run the command of a schedule now, unless it is running.

    \b
    Examples:
      auditor schedule run-now nightly
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.progress import say
    from auditor.cli.run_scan import runs_locally
    from auditor.db.schedules import abandon_run, scan_of_run
    from auditor.errors import EnvironmentUnusableError
    from auditor.scheduling.due import claim_run_now, run_schedule

    engine, local = open_database(), runs_locally(queued)
    run = claim_run_now(engine, name)
    try:
        reason = run_schedule(engine, run, local=local)
    except KeyboardInterrupt:
        abandon_run(engine, run.claim)
        raise
    if reason is not None:
        raise EnvironmentUnusableError(f"schedule {name}: {reason}")
    scan = scan_of_run(engine, run.id)
    say(f"schedule {name}: scan {scan}; see `auditor scans show {scan}`")
