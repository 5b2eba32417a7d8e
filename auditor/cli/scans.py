"""``auditor scans``: list, show, cancel and retry them."""

import time
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.numbers import Count, FiniteRange
from auditor.cli.options import FORMAT
from auditor.cli.run_scan import where_options

if TYPE_CHECKING:
    from sqlalchemy import Engine

Row = dict[str, Any]
SCAN = click.argument("scan_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))


@click.group("scans")
def command() -> None:
    """Scans: which there were, how they get on, to end them, and to try again what failed."""


@command.command("list")
@click.option("--state", type=click.Choice(["running", "done", "interrupted"]), help="Only scans in this state.")
@click.option("--limit", type=Count(), default=20, show_default=True, help="The newest N.")
@FORMAT
def list_(state: str | None, limit: int, shape: str) -> None:
    """List scans, the newest first, with how many of their audits are in which state.

    \b
    Examples:
      auditor scans list
      auditor scans list --state running --format json
    """
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.scans import STATES, list_scans

    rows = list_scans(_engine(), state=state, limit=limit)
    if shape == "json":
        print_json(rows)
    elif not rows:
        click.echo("no scans")
    else:
        names = ["scan", "source", "protocol", "queue", "state", *STATES, "reused", "started_at", "seconds"]
        print_table(names, [["" if row[name] is None else str(row[name]) for name in names] for row in rows])


@command.command()
@SCAN
@FORMAT
def show(scan_id: int, shape: str) -> None:
    """Show a scan's audits: state, attempt, where they run, and why they failed.

    \b
    Examples:
      auditor scans show 7
      auditor scans show 7 --format json
    """
    from auditor.cli.output.follow import part_of
    from auditor.cli.output.layout import print_line
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.scans import STATES, load_scan

    scan = load_scan(_engine(), scan_id)
    if shape == "json":
        print_json([scan])
        return
    numbers = ", ".join(f"{scan[state]} {state}" for state in STATES if scan[state])
    reused = f", {scan['reused']} done before" if scan["reused"] else ""
    where = f"by {scan['worker']}" if scan["queue"] == "here" else f"in the queue {scan['queue']}"
    print_line(f"scan {scan_id} of {scan['source']}, {where}: {scan['state']}; {numbers or 'no audits'}{reused}")
    names = ["audit", "model", "state", "attempt", "worker", "part", "reason"]
    cells = [
        [
            str(audit["audit"]),
            audit["model"],
            "done before" if audit["reused"] else audit["state"],
            str(audit["attempt"]),
            audit["worker"] or "",
            part_of(audit),
            audit["reason"] or "",
        ]
        for audit in scan["audits"]
    ]
    if cells:
        print_table(names, cells)


@command.command()
@click.argument("before", metavar="A", type=click.IntRange(1, 2**31 - 1))
@click.argument("after", metavar="B", type=click.IntRange(1, 2**31 - 1))
@click.option(
    "--gap-drop",
    type=FiniteRange(0),
    default=0.1,
    show_default=True,
    help="A gap lower by more than this is worse.",
)
@FORMAT
def diff(before: int, after: int, gap_drop: float, shape: str) -> None:
    """Compare what scan B found with what scan A had: new, changed, failed, measured again, and worse.

    Worse is a robust accuracy lower with a one-sided paired McNemar p below 0.05, a new flag, a failure, or a gap
    lower by more than --gap-drop.

    \b
    Examples:
      auditor scans diff 6 7
      auditor scans diff 6 7 --format json

    \b
    Exit codes: 0 nothing is worse; 4 something is.
    """
    from auditor.cli.output.tables import print_json
    from auditor.results.diff import diff_scans
    from auditor.scheduling.webhook import describe_diff

    found = diff_scans(_engine(), before, after, gap_drop=gap_drop)
    if shape == "json":
        print_json([found.to_json()])
    else:
        click.echo(describe_diff(found, f"scan {after} after scan {before}", complete=True))
    if found.alarming:
        click.get_current_context().exit(4)


@command.command()
@SCAN
def cancel(scan_id: int) -> None:
    """End a scan: what is queued is cancelled at once, what runs as soon as its process is gone.

    What was done stays. Waits until no audit of the scan runs any more: seconds, or the length of a lease where a
    worker gives no sign of life.

    \b
    Examples:
      auditor scans cancel 7

    \b
    Exit codes: 0 nothing of the scan runs any more; 1 something still does, after twice the length of a lease.
    """
    from auditor.cli.output.progress import say
    from auditor.config import settings
    from auditor.db.leases import Leases
    from auditor.db.scans import cancel_scan, load_scan
    from auditor.jobs.reaper import Reaper

    engine = _engine()
    scan = load_scan(engine, scan_id)
    if scan["state"] != "running":
        say(f"scan {scan_id} has ended already: {scan['state']}")
        return
    cancel_scan(engine, scan_id, "cancelled")
    leases = [one.seconds or 0 for one in Leases(engine).running()]
    lease = max(settings().lease_seconds, *leases, 0)
    reaper, until, told = Reaper(engine, lease), time.monotonic() + 2 * lease + 10, False
    while (scan := load_scan(engine, scan_id))["state"] == "running" and time.monotonic() < until:
        running = [audit for audit in scan["audits"] if audit["state"] == "cancelling"]
        if running and not told:
            told = True
            say(f"waiting for {', '.join(sorted({str(audit['worker']) for audit in running}))}")
        reaper.check()
        time.sleep(0.5)
    say(f"scan {scan_id}: {scan['state']}; {scan['done']} done, {scan['failed']} failed, {scan['cancelled']} cancelled")
    if scan["state"] == "running":
        click.get_current_context().exit(1)


@command.command()
@SCAN
@where_options
@FORMAT
def retry(scan_id: int, shape: str, **options: Any) -> None:
    """Try again what failed or was cancelled of a scan, as it was asked for; what is done stays.

    \b
    Examples:
      auditor scans retry 7
      auditor scans retry 7 --here --jobs 2

    \b
    Exit codes: as of `auditor scan`.
    """
    from auditor.cli.output.scan import print_outcome
    from auditor.cli.run_scan import decide, log_scan, rerun_where
    from auditor.db.scans import load_scan
    from auditor.db.store import Store

    log_scan()
    engine = _engine()
    where = decide(options | {"device": load_scan(engine, scan_id)["device"]})
    outcome = rerun_where(where, Store(engine), scan_id)
    print_outcome(engine, outcome, shape)
    if outcome.failed or outcome.cancelled:
        click.get_current_context().exit(1)


def _engine() -> "Engine":
    """The database, in which scans of processes of this machine that are gone have ended."""
    from auditor.cli.database import open_settings
    from auditor.jobs.reaper import abandon_dead_scans

    engine = open_settings()
    abandon_dead_scans(engine)
    return engine
