"""A scan as one self-contained HTML file, which can be mailed, archived and read offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from sqlalchemy import Engine

from auditor.db.results import Filter, list_results, load_detail
from auditor.db.scans import load_scan, newest_request
from auditor.errors import UsageError
from auditor.records.results import ResultRow
from auditor.records.scans import ScanDetail
from auditor.results.ranking import setting_of
from auditor.web.audit.detail import AuditDetail, build_audit_detail
from auditor.web.audit.pictures import build_templates
from auditor.web.figures.heatmap import MOST_CELLS
from auditor.web.figures.zoo import ZooPlot, zoo_plot_of_rows
from auditor.web.leaderboard import Board, build_boards
from auditor.web.render import asset, render


@dataclass(frozen=True)
class Report:
    """``plots`` has one plot per setting with several models; ``not_audited`` are failed and cancelled audits."""

    scan: ScanDetail
    boards: tuple[Board, ...]
    plots: tuple[ZooPlot, ...]
    audits: tuple[AuditDetail, ...]
    not_audited: tuple[ResultRow, ...]
    unfinished: int
    made_at: str
    version: str


def load_report(engine: Engine, scan_id: int) -> Report:
    """Load the report of a scan; of a running scan, load the results so far.

    Raises:
        NotFoundError: there is no such scan.
        UsageError: it has no result yet.
    """
    scan = load_scan(engine, scan_id)
    rows = list_results(engine, Filter(scan=scan_id))
    done = [row for row in rows if row.status == "done"]
    not_audited = tuple(row for row in rows if row.status in ("failed", "cancelled"))
    if not done and not not_audited:
        raise UsageError(f"scan {scan_id} has no result yet; `auditor scans show {scan_id}` shows its progress")
    return Report(
        scan=scan,
        boards=build_boards(rows),
        plots=tuple(_plots(done)),
        audits=tuple(_audit(engine, row.id) for row in done),
        not_audited=not_audited,
        unfinished=len(rows) - len(done) - len(not_audited),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version("auditor"),
    )


def write_report(report: Report) -> str:
    """Render the report as HTML."""
    return render(
        "report.html", report=report, style=asset("style.css") + asset("plots.css"), script=asset("figures.js")
    )


def _audit(engine: Engine, audit_id: int) -> AuditDetail:
    """One audit, with its templates if they are few: pictures of 1,000 classes would make the file too large."""
    detail = load_detail(engine, audit_id)
    few = len(detail.classes) <= MOST_CELLS
    templates = build_templates(engine, detail) if few else None
    return build_audit_detail(detail, templates=templates, request=newest_request(engine, audit_id))


def _plots(done: Sequence[ResultRow]) -> list[ZooPlot]:
    groups = {setting: [row for row in done if setting_of(row) == setting] for setting in map(setting_of, done)}
    return [plot for group in groups.values() if len(group) > 1 and (plot := zoo_plot_of_rows(group))]
