"""``auditor schedule``: what is to be run every night; ``auditor beat`` runs it."""

from datetime import UTC, datetime
from typing import Any

import click

from auditor.cli.options import FORMAT

NAME = click.argument("name", metavar="NAME")


@click.group("schedule")
def command() -> None:
    """Scans that are run again and again; needs `auditor beat` running, which runs them."""


@command.command(context_settings={"ignore_unknown_options": True})
@NAME
@click.option("--cron", required=True, metavar="TIMES", help="Minute, hour, day, month, weekday, in UTC: '0 2 * * *'.")
@click.option("--replace", is_flag=True, help="Change the schedule of this name, where there is one.")
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
def add(name: str, cron: str, replace: bool, words: tuple[str, ...]) -> None:
    """Add a schedule: COMMAND is one of auditor's own, after two dashes.

    A due time that was missed by less than a day is made up for once; a later one is skipped.

    \b
    Examples:
      auditor schedule add nightly --cron '0 2 * * *' -- scan robustbench --dataset cifar10 --protocol standard
      auditor schedule add demo --cron '*/30 * * * *' -- scan demo --reverify 2
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.progress import say
    from auditor.db.schedules import add_schedule
    from auditor.scheduling.due import check_command, check_cron, next_due

    check_cron(cron)
    check_command(words)
    add_schedule(open_settings(), name, cron, words, replace=replace)
    due = next_due(cron, datetime.now(UTC))
    when = f"due next at {due:%Y-%m-%d %H:%M} UTC; `auditor beat` runs it" if due else "never due"
    say(f"schedule {name}: {when}")


@command.command("list")
@FORMAT
def list_(shape: str) -> None:
    """List schedules: when each is due, and what became of its last run.

    \b
    Examples:
      auditor schedule list
      auditor schedule list --format json
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.schedules import all_schedules, last_run
    from auditor.scheduling.due import next_due

    engine = open_settings()
    rows: list[dict[str, Any]] = []
    for one in all_schedules(engine):
        run = last_run(engine, one) or {}
        due = next_due(one.cron, datetime.now(UTC)) if one.enabled else None
        rows.append(
            {
                "schedule": one.name,
                "enabled": one.enabled,
                "cron": one.cron,
                "command": list(one.command),
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
        click.echo("no schedules; `auditor schedule add --help` shows how")
    else:
        columns = ["schedule", "cron", "next due (UTC)", "last run", "command"]
        print_table(columns, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["schedule"], row["cron"], row["next_due_at"] or "off", _last(row), " ".join(row["command"])]


def _last(row: dict[str, Any]) -> str:
    if row["last_state"] is None:
        return "none"
    scan = f", scan {row['last_scan']} {row['last_scan_state']}" if row["last_scan"] else ""
    reason = f": {row['last_reason']}" if row["last_reason"] else ""
    return f"{row['last_due_at']} {row['last_state']}{scan}{reason}"


@command.command()
@NAME
def remove(name: str) -> None:
    """Remove a schedule; the scans that it made stay."""
    from auditor.cli.database import open_settings
    from auditor.db.schedules import remove_schedule

    remove_schedule(open_settings(), name)


@command.command()
@NAME
def enable(name: str) -> None:
    """Let a schedule run again; what was due meanwhile is not made up for."""
    from auditor.cli.database import open_settings
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_settings(), name, enabled=True)


@command.command()
@NAME
def disable(name: str) -> None:
    """Keep a schedule, and do not run it."""
    from auditor.cli.database import open_settings
    from auditor.db.schedules import enable_schedule

    enable_schedule(open_settings(), name, enabled=False)


@command.command("run-now")
@NAME
@click.option("--queue/--here", "queued", default=None, help="As of `auditor scan`.")
def run_now(name: str, queued: bool | None) -> None:
    """Run a schedule's command now, whatever the time.

    \b
    Examples:
      auditor schedule run-now nightly
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.progress import say
    from auditor.cli.run_scan import runs_locally
    from auditor.db.schedules import find_schedule, last_run, take_run
    from auditor.errors import EnvironmentUnusableError, UsageError
    from auditor.scheduling.due import run_schedule

    engine = open_settings()
    schedule = find_schedule(engine, name)
    run = take_run(engine, schedule, datetime.now(UTC))
    if run is None:
        raise UsageError(f"schedule {name!r} has just changed; try again")
    run_schedule(engine, run, here=runs_locally(queued))
    done = last_run(engine, schedule) or {}
    if done.get("state") == "failed":
        raise EnvironmentUnusableError(f"schedule {name}: {done['reason']}")
    say(f"schedule {name}: scan {done.get('scan')}; see `auditor scans show {done.get('scan')}`")
