"""``--wait``: a live view of a scan that workers run, from what the database says; always on stderr."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from auditor.cli.output.progress import say
from auditor.db.scans import load_scan
from auditor.logs import log_context, logs_json
from auditor.scans.local import ScanOutcome

if TYPE_CHECKING:
    from sqlalchemy import Engine

Row = dict[str, Any]
LOOK_SECONDS = 1.0
ENDED = ("done", "failed", "cancelled")


def follow(engine: "Engine", scan_id: int) -> ScanOutcome:
    """Watch a scan until its last audit has ended; a Ctrl-C ends the watching, not the scan."""
    try:
        return _follow(engine, scan_id)
    except KeyboardInterrupt:
        say(
            f"scan {scan_id} goes on; `auditor scans show {scan_id}` shows it, `auditor scans cancel {scan_id}` ends it"
        )
        click.get_current_context().exit(130)


def _follow(engine: "Engine", scan_id: int) -> ScanOutcome:
    told: set[int] = set()
    watched = sys.stderr is not None and sys.stderr.isatty() and not logs_json()
    live = Live(console=Console(stderr=True), transient=True) if watched else None
    with live or contextlib.nullcontext():
        while True:
            scan = _patiently_load(engine, scan_id)
            if live:
                live.update(view(scan))
            else:
                _tell(scan, told)
            if scan["state"] != "running":
                return outcome_of(scan)
            time.sleep(LOOK_SECONDS)


def _patiently_load(engine: "Engine", scan_id: int) -> Row:
    """A database that restarts is waited for: the scan does not end with it."""
    from auditor.db.patience import AWAY

    for _ in range(120):
        with contextlib.suppress(*AWAY):
            return load_scan(engine, scan_id)
        time.sleep(LOOK_SECONDS)
    return load_scan(engine, scan_id)


def view(scan: Row) -> Group:
    """What a scan is at: a line of numbers, and a line for each audit that runs."""
    numbers = ", ".join(f"{scan[state]} {state}" for state in ("queued", "running", *ENDED) if scan[state])
    lines = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for audit in scan["audits"]:
        if audit["state"] in ("running", "cancelling"):
            lines.add_row(*map(str, (audit["model"], part_of(audit), audit["worker"] or "", audit["state"])))
    return Group(Text(f"scan {scan['scan']}: {numbers}", style="bold"), lines)


def part_of(row: Row) -> str:
    """``apgd-ce 64/256``: where a running audit is."""
    return f"{row['part']} {row['part_done']}/{row['part_total']}" if row["part"] else ""


def _tell(scan: Row, told: set[int]) -> None:
    for audit in scan["audits"]:
        if audit["state"] in ENDED and audit["audit"] not in told:
            told.add(audit["audit"])
            reason = f": {audit['reason']}" if audit["reason"] else ""
            with log_context(scan=scan["scan"], audit=audit["audit"], model=audit["model"], attempt=audit["attempt"]):
                say(f"{len(told)}/{len(scan['audits'])} {audit['model']}: {audit['state']}{reason}")


def outcome_of(scan: Row) -> ScanOutcome:
    """What has become of a scan, from its stored audits."""
    outcome = ScanOutcome(scan["scan"])
    for audit in scan["audits"]:
        if audit["reused"]:
            outcome.reused.append(audit["model"])
        elif audit["state"] == "failed":
            outcome.failed[audit["model"]] = audit["reason"]
        elif audit["state"] in ("done", "cancelled"):
            (outcome.done if audit["state"] == "done" else outcome.cancelled).append(audit["model"])
    return outcome
