"""``auditor scans``: list, show, follow, compare, cancel and retry scans, and log them to MLflow."""

import time

import click

from auditor.cli.choice import Choice
from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.number_types import FiniteRange
from auditor.cli.options import FORMAT, JOBS, QUEUE, ROW_ID, WAIT, PlaceOptions
from auditor.errors import ExitCode

SCAN = click.argument("scan_id", metavar="ID", type=ROW_ID)


@click.group("scans", cls=Group)
def command() -> None:
    """List, show, follow and cancel scans, retry what failed, and show the difference of two."""


@command.command("list")
@click.option("--state", type=Choice(["running", "done", "interrupted"]), help="List only scans in this state.")
@list_options(limit=20)
def list_(state: str | None, listing: Listing) -> None:
    """List scans, the newest first, with the number of their audits in each state.

    \b
    Examples:
      auditor scans list
      auditor scans list --state running --format json
      auditor scans list --filter 'failed>0' --sort -seconds
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.states import state_of
    from auditor.cli.output.tables import print_fields
    from auditor.db.scans import STATES, list_scans
    from auditor.records.scans import ScanRow
    from auditor.results.serialize import keys_of

    limit = listing.limit + 1 if listing.limit and listing.is_plain else None
    rows = list_scans(open_tidied(), state=state, limit=limit)
    names = ["scan", "source", "protocol", "queue", "state", *STATES, "reused", "started_at", "seconds"]
    optional = ["queue", "reused", "seconds", "cancelled", "queued", "running", "protocol"]
    more = limit is not None and len(rows) == limit
    listing.print(
        rows,
        lambda chosen: print_fields(names, chosen, optional, state=state_of),
        nothing="no scans",
        keys=keys_of(ScanRow),
        more=more,
    )


@command.command()
@SCAN
@FORMAT
def show(scan_id: int, output_format: str) -> None:
    """Show the audits of a scan: state, attempt, worker, progress, and the reason of a failure.

    \b
    Examples:
      auditor scans show 7
      auditor scans show 7 --format json
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.follow import count_by_state, part_of
    from auditor.cli.output.layout import print_line
    from auditor.cli.output.states import state_of
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.scans import load_scan
    from auditor.records import LOCAL_QUEUE
    from auditor.text.signs_of_life import no_worker, start_worker
    from auditor.text.times import format_duration

    scan = load_scan(open_tidied(), scan_id)
    if output_format == "json":
        print_json([scan])
        return
    reused = f", {scan.reused} done before" if scan.reused else ""
    where = f"by {scan.worker}" if scan.queue == LOCAL_QUEUE else f"in the queue {scan.queue}"
    left = f"; about {format_duration(scan.seconds_left)} left" if scan.seconds_left is not None else ""
    counts = count_by_state(scan) or "no audits"
    print_line(f"scan {scan_id} of {scan.source}, {where}: {scan.state}; {counts}{reused}{left}")
    if scan.unserved:
        print_line(f"{no_worker(scan.queue)}; {start_worker(scan.queue)}", "yellow")
    names = ["audit", "model", "state", "attempt", "worker", "part", "reason"]
    cells = [
        [
            str(audit.audit),
            audit.model,
            "done before" if audit.reused else state_of(audit),
            str(audit.attempt),
            audit.worker or "",
            part_of(audit),
            audit.reason or "",
        ]
        for audit in scan.audits
    ]
    if cells:
        print_table(names, cells)


@command.command()
@SCAN
@FORMAT
def follow(scan_id: int, output_format: str) -> None:
    """Follow a scan until its last audit has ended; Ctrl-C stops following, not the scan.

    \b
    Examples:
      auditor scans follow 7

    Exit codes: 0 all audits are done; 1 some models failed or were cancelled; 130 interrupted.
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output import follow as live
    from auditor.cli.output.scan import print_outcome

    engine = open_tidied()
    outcome = live.follow(engine, scan_id)
    print_outcome(engine, outcome, output_format)
    if outcome.failed or outcome.cancelled:
        click.get_current_context().exit(ExitCode.FAILED)


@command.command()
@click.argument("before", metavar="A", type=ROW_ID)
@click.argument("after", metavar="B", type=ROW_ID)
@click.option(
    "--gap-drop",
    type=FiniteRange(0),
    default=0.1,
    show_default=True,
    help="Count a gap that fell by more than this as worse.",
)
@FORMAT
def diff(before: int, after: int, gap_drop: float, output_format: str) -> None:
    """Compare scan B with the earlier scan A.

    Prints which models are new, changed, failed, measured again, or worse. A model is worse if its robust accuracy is
    lower with a one-sided paired McNemar p below 0.05, if it has a new flag, if its audit failed, or if its gap fell by
    more than --gap-drop.

    \b
    Examples:
      auditor scans diff 6 7
      auditor scans diff 6 7 --format json

    Exit codes: 0 no model is worse; 4 some models are worse.
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.tables import print_json
    from auditor.results.diff import diff_scans
    from auditor.scheduling.webhook import describe_diff

    difference = diff_scans(open_tidied(), before, after, gap_drop=gap_drop)
    if output_format == "json":
        print_json([difference.to_json()])
    else:
        click.echo(describe_diff(difference, f"scan {after} after scan {before}", complete=True))
    if difference.alarming:
        click.get_current_context().exit(ExitCode.GATE)


@command.command()
@SCAN
def cancel(scan_id: int) -> None:
    """Cancel a scan: queued audits at once, running audits as soon as their processes have ended.

    Finished audits are kept. The command waits until no audit of the scan runs: seconds, or one lease time if a worker
    sends no heartbeat.

    \b
    Examples:
      auditor scans cancel 7

    Exit codes: 0 no audit of the scan runs; 1 an audit still runs after twice the lease time.
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.progress import say
    from auditor.config import settings
    from auditor.db.leases import Leases
    from auditor.db.scans import cancel_scan, load_scan
    from auditor.jobs.reaper import Reaper

    engine = open_tidied()
    scan = load_scan(engine, scan_id)
    if scan.state != "running":
        say(f"scan {scan_id} has already ended: {scan.state}")
        return
    cancel_scan(engine, scan_id, "cancelled")
    leases = [running.seconds or 0 for running in Leases(engine).running()]
    lease = max(settings().lease_seconds, *leases, 0)
    reaper, until, announced = Reaper(engine, lease), time.monotonic() + 2 * lease + 10, False
    while (scan := load_scan(engine, scan_id)).state == "running" and time.monotonic() < until:
        running = [audit for audit in scan.audits if audit.state == "cancelling"]
        if running and not announced:
            announced = True
            say(f"waiting for {', '.join(sorted({str(audit.worker) for audit in running}))}")
        reaper.check()
        time.sleep(0.5)
    say(f"scan {scan_id}: {scan.state}; {scan.done} done, {scan.failed} failed, {scan.cancelled} cancelled")
    if scan.state == "running":
        click.get_current_context().exit(ExitCode.FAILED)


@command.command()
@SCAN
@QUEUE
@WAIT
@JOBS
@FORMAT
def retry(scan_id: int, queued: bool | None, wait: bool, jobs: int | None, output_format: str) -> None:
    """Retry the failed and cancelled audits of a scan with its original options.

    Finished audits are kept.

    \b
    Examples:
      auditor scans retry 7
      auditor scans retry 7 --here --jobs 2

    Exit codes: the same as for `auditor scan`.
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.scan import print_outcome
    from auditor.cli.run_scan import decide, rerun_where, set_up_logs_and_traces
    from auditor.db.scans import load_scan
    from auditor.db.store import Store

    set_up_logs_and_traces()
    engine = open_tidied()
    place = PlaceOptions(queued=queued, wait=wait, jobs=jobs)
    where = decide(place, load_scan(engine, scan_id).device)
    outcome = rerun_where(where, Store(engine), scan_id)
    print_outcome(engine, outcome, output_format)
    if outcome.failed or outcome.cancelled:
        click.get_current_context().exit(ExitCode.FAILED)


@command.command("mlflow")
@SCAN
@click.argument("uri", metavar="URI")
@click.option("--experiment", metavar="NAME", help="Log to this experiment. By default: auditor/SOURCE.")
def log_to_mlflow(scan_id: int, uri: str, experiment: str | None) -> None:
    """Log the ended audits of a scan to MLflow, as `auditor scan --mlflow URI` does.

    URI is the address of a server, sqlite:///FILE or a folder. Audits that were logged before are left out. The user
    and password, or token, of a server come from MLflow's own environment variables.

    \b
    Examples:
      auditor scans mlflow 7 http://127.0.0.1:5000
      auditor scans mlflow 7 sqlite:///mlflow.db --experiment nightly

    Exit codes: 0 the audits are logged; 3 the server cannot be used.
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.mlflow import log_scan
    from auditor.cli.output.progress import say
    from auditor.db.scans import load_scan
    from auditor.text.numbers import counted

    engine = open_tidied()
    load_scan(engine, scan_id)
    say(f"logged {counted(log_scan(engine, scan_id, uri, experiment), 'audit')} to MLflow")
