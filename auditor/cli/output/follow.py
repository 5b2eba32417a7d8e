"""``--wait``: a live view on stderr of a scan that workers run, read from the database."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from auditor import tracing
from auditor.cli.output.progress import say
from auditor.cli.output.states import SilenceReports, state_of
from auditor.db.scans import STATES, load_scan
from auditor.errors import ExitCode
from auditor.logs import log_context, logs_json
from auditor.records.scans import ScanAudit, ScanDetail
from auditor.records.trainings import TrainingRow
from auditor.records.workers import WorkerRow
from auditor.scans.local import ScanOutcome
from auditor.text.signs_of_life import no_worker, start_worker
from auditor.text.times import format_duration

if TYPE_CHECKING:
    from sqlalchemy import Engine

POLL_SECONDS = 1.0
ENDED = ("done", "failed", "cancelled")


def follow(engine: "Engine", scan_id: int) -> ScanOutcome:
    """Watch a scan until its last audit has ended; Ctrl-C stops watching, not the scan."""
    try:
        return _follow(engine, scan_id)
    except KeyboardInterrupt:
        say(
            f"scan {scan_id} continues; `auditor scans show {scan_id}` shows it, "
            f"`auditor scans cancel {scan_id}` ends it"
        )
        click.get_current_context().exit(ExitCode.INTERRUPTED)


def _follow(engine: "Engine", scan_id: int) -> ScanOutcome:
    reported: set[int] = set()
    silences = SilenceReports()
    watched = sys.stderr is not None and sys.stderr.isatty() and not logs_json()
    live = Live(console=Console(stderr=True), transient=True) if watched else None
    with tracing.paused(), live or contextlib.nullcontext():
        while True:
            scan = _load_with_retries(engine, scan_id)
            if live:
                live.update(view(scan))
            else:
                _report_ended(scan, reported)
                silences.report(scan)
            if scan.state != "running":
                return outcome_of(scan)
            time.sleep(POLL_SECONDS)


def _load_with_retries(engine: "Engine", scan_id: int) -> ScanDetail:
    """Wait for a database that restarts, because the scan does not end with it."""
    from auditor.db.retry import UNAVAILABLE

    for _ in range(120):
        with contextlib.suppress(*UNAVAILABLE):
            return load_scan(engine, scan_id)
        time.sleep(POLL_SECONDS)
    return load_scan(engine, scan_id)


def view(scan: ScanDetail) -> Group:
    """The number of audits in each state, and a line for each running audit."""
    lines = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for audit in scan.audits:
        if audit.state in ("running", "cancelling"):
            lines.add_row(audit.model, part_of(audit), audit.worker or "", state_of(audit))
    left = f", about {format_duration(scan.seconds_left)} left" if scan.seconds_left is not None else ""
    heading = Text(f"scan {scan.scan}: {count_by_state(scan)}{left}", style="bold")
    if scan.unserved:
        return Group(heading, Text(f"{no_worker(scan.queue)}; {start_worker(scan.queue)}"), lines)
    return Group(heading, lines)


def count_by_state(scan: ScanDetail) -> str:
    """The number of audits in each state that occurs: ``2 queued, 1 running``."""
    return ", ".join(f"{number} {state}" for state in STATES if (number := getattr(scan, state)))


def part_of(row: ScanAudit | TrainingRow | WorkerRow) -> str:
    """The progress of a running audit: ``apgd-ce 64/256``."""
    return f"{row.part} {row.part_done}/{row.part_total}" if row.part else ""


def _report_ended(scan: ScanDetail, reported: set[int]) -> None:
    for audit in scan.audits:
        if audit.state in ENDED and audit.audit not in reported:
            reported.add(audit.audit)
            reason = f": {audit.reason}" if audit.reason else ""
            with log_context(scan=scan.scan, audit=audit.audit, model=audit.model, attempt=audit.attempt):
                say(f"{len(reported)}/{len(scan.audits)} {audit.model}: {audit.state}{reason}")


def outcome_of(scan: ScanDetail) -> ScanOutcome:
    """The outcome of a scan, from its stored audits."""
    outcome = ScanOutcome(scan.scan)
    for audit in scan.audits:
        if audit.reused:
            outcome.reused.append(audit.model)
        elif audit.state == "failed":
            outcome.failed[audit.model] = audit.reason or ""
        elif audit.state in ("done", "cancelled"):
            (outcome.done if audit.state == "done" else outcome.cancelled).append(audit.model)
    return outcome
