"""A scan as one HTML file: nothing in it points anywhere else, so it can be mailed, archived and read offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import Engine

from auditor.db.results import Filter, list_results, load_detail
from auditor.db.scans import load_scan
from auditor.errors import UsageError
from auditor.records.results import ResultRow
from auditor.results.ranking import setting_of
from auditor.web.audit_detail import AuditDetail, sheet
from auditor.web.figures.zoo import ZooPlot, zoo_plot
from auditor.web.leaderboard import Board, boards
from auditor.web.render import asset, render


@dataclass(frozen=True)
class Report:
    """``plots``: one for each setting of several models; ``ended_badly``: models that failed or were cancelled."""

    scan: dict[str, Any]
    boards: tuple[Board, ...]
    plots: tuple[ZooPlot, ...]
    sheets: tuple[AuditDetail, ...]
    ended_badly: tuple[ResultRow, ...]
    unfinished: int
    made_at: str
    version: str


def load_report(engine: Engine, scan_id: int) -> Report:
    """All of a scan that a report shows; of a scan that still runs, what there is.

    Raises:
        UsageError: there is no such scan, or it has no result yet.
    """
    scan = load_scan(engine, scan_id)
    rows = list_results(engine, Filter(scan=scan_id))
    done = [row for row in rows if row.status == "done"]
    ended_badly = tuple(row for row in rows if row.status in ("failed", "cancelled"))
    if not done and not ended_badly:
        raise UsageError(f"scan {scan_id} has no result yet; `auditor scans show {scan_id}` says how it gets on")
    return Report(
        scan=scan,
        boards=boards(rows),
        plots=tuple(_plots(done)),
        sheets=tuple(sheet(load_detail(engine, row.id)) for row in done),
        ended_badly=ended_badly,
        unfinished=len(rows) - len(done) - len(ended_badly),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version("auditor"),
    )


def write_report(report: Report) -> str:
    """The file's text."""
    return render("report.html", report=report, style=asset("style.css"), script=asset("figures.js"))


def _plots(done: Sequence[ResultRow]) -> list[ZooPlot]:
    groups = {setting: [row for row in done if setting_of(row) == setting] for setting in map(setting_of, done)}
    return [plot for group in groups.values() if len(group) > 1 and (plot := zoo_plot(group))]
