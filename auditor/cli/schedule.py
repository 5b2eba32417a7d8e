"""``auditor schedule``: schedules of scans, which ``auditor beat`` runs."""

from datetime import UTC, datetime
from typing import Any

import click

from auditor.cli.options import FORMAT, QUEUE

NAME = click.argument("name", metavar="NAME")


@click.group("schedule")
def command() -> None:
    """Add, list, run and remove schedules of scans; `auditor beat` runs them."""


@command.command(context_settings={"ignore_unknown_options": True})
@NAME
@click.option(
    "--cron", required=True, metavar="TIMES", help="Minute, hour, day, month and weekday in UTC, e.g. '0 2 * * *'."
)
@click.option("--replace", is_flag=True, help="Replace the schedule if the name exists.")
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
def add(name: str, cron: str, replace: bool, words: tuple[str, ...]) -> None:
    """Add a schedule for COMMAND, which is an auditor command after two dashes.

    If a due time was missed by less than a day, the command runs once, late. If it was missed by more, it is skipped.

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
    add_schedule(open_database(), name, cron, words, replace=replace)
    due = next_due(cron, datetime.now(UTC))
    when = f"next due at {due:%Y-%m-%d %H:%M} UTC; `auditor beat` runs it" if due else "never due"
    say(f"schedule {name}: {when}")


@command.command("list")
@FORMAT
def list_(shape: str) -> None:
    """List schedules: when each is due, and how its last run ended.

    \b
    Examples:
      auditor schedule list
      auditor schedule list --format json
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.schedules import all_schedules, last_run
    from auditor.scheduling.due import find_problem, next_run

    engine = open_database()
    rows: list[dict[str, Any]] = []
    for one in all_schedules(engine):
        run = last_run(engine, one) or {}
        due = next_run(one, datetime.now(UTC))
        rows.append(
            {
                "schedule": one.name,
                "enabled": one.enabled,
                "cron": one.cron,
                "command": list(one.command or ()),
                "problem": find_problem(one),
                "next_due_at": due.isoformat(timespec="minutes") if due else None,
                "last_due_at": run["due_at"].isoformat(timespec="minutes") if run else None,
                "last_state": run.get("state"),
                "last_scan": run.get("scan"),
                "last_scan_state": run.get("scan_state"),
                "last_reason": run.get("reason"),
            }
        )
    if shape == "json":
        print_json(rows)
    elif not rows:
        click.echo("no schedules; `auditor schedule add` adds one")
    else:
        columns = ["schedule", "cron", "next due (UTC)", "last run", "command"]
        print_table(columns, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    due = row["next_due_at"] or ("off" if not row["enabled"] else "never")
    if row["problem"]:
        due += f": {row['problem']}"
    return [row["schedule"], row["cron"], due, _last(row), " ".join(row["command"])]


def _last(row: dict[str, Any]) -> str:
    if row["last_state"] is None:
        return "none"
    scan = f", scan {row['last_scan']} {row['last_scan_state']}" if row["last_scan"] else ""
    reason = f": {row['last_reason']}" if row["last_reason"] else ""
    return f"{row['last_due_at']} {row['last_state']}{scan}{reason}"


@command.command()
@NAME
def remove(name: str) -> None:
    """Remove a schedule; its scans are kept."""
    from auditor.cli.db import open_database
    from auditor.db.schedules import remove_schedule

    remove_schedule(open_database(), name)


@command.command()
@NAME
def enable(name: str) -> None:
    """Enable a schedule; due times that passed while it was disabled are skipped."""
    from auditor.cli.db import open_database
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_database(), name, enabled=True)


@command.command()
@NAME
def disable(name: str) -> None:
    """Disable a schedule without removing it."""
    from auditor.cli.db import open_database
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_database(), name, enabled=False)


@command.command("run-now")
@NAME
@QUEUE
def run_now(name: str, queued: bool | None) -> None:
    """Run the command of a schedule now.

    \b
    Examples:
      auditor schedule run-now nightly
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.progress import say
    from auditor.cli.run_scan import runs_locally
    from auditor.db.schedules import claim_run, find_schedule, last_run
    from auditor.errors import EnvironmentUnusableError, UsageError
    from auditor.scheduling.due import find_problem, run_schedule

    engine = open_database()
    schedule = find_schedule(engine, name)
    if schedule.command is None:
        raise UsageError(f"schedule {name!r}: {find_problem(schedule)}")
    run = claim_run(engine, schedule, datetime.now(UTC))
    if run is None:
        raise UsageError(f"schedule {name!r} was changed by another process; try again")
    run_schedule(engine, run, here=runs_locally(queued))
    last = last_run(engine, schedule) or {}
    if last.get("state") == "failed":
        raise EnvironmentUnusableError(f"schedule {name}: {last['reason']}")
    say(f"schedule {name}: scan {last.get('scan')}; see `auditor scans show {last.get('scan')}`")
