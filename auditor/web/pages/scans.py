"""The pages of scans: the list, one scan with its results, its difference to the scan before, and its report."""

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from auditor.db.results import Filter, list_ids, list_results
from auditor.db.scans import list_scans, load_scan, load_settings
from auditor.db.tokens import Bearer
from auditor.errors import AuditorError, UsageError
from auditor.records.extra_attacks import attacks_label
from auditor.records.results import ResultRow
from auditor.records.scans import ScanAudit, ScanDetail, ScanRow, ScanSettings
from auditor.results.diff import Diff, diff_scans
from auditor.results.previous import previous_scan
from auditor.results.regressions import GAP_DROP
from auditor.scans.command import MOST_MODELS, scan_command, uses_folder
from auditor.text.eps import format_threat, parse_eps
from auditor.web.api import scans as api
from auditor.web.api.common import Database, Number
from auditor.web.cleanup import end_dead_jobs
from auditor.web.errors import status_of
from auditor.web.figures.progress import Progress, scan_progress
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import Fields, FormState, InvalidFormError, parse_form, require_sign_in
from auditor.web.paging import decode_number_cursor, encode_number_cursor, last_page, split_page
from auditor.web.security.access import find_user
from auditor.web.shapes.requests import ScanBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])
SCANS, AUDITS = 50, 100
"""How many scans, and how many audits of a scan, a page has."""
MOST_IN_REPORT = 50
"""The most audits of a report that the server makes; a larger one is made by the command line."""
ScanSignIn = Annotated[Bearer, Depends(require_sign_in("scan", "/scans/{number}"))]
Page = Annotated[int, Query(ge=1, le=10**6)]
SORTED = ("model", "clean_accuracy", "robust_accuracy", "screen_score", "gap")
Sorting = Literal["", *(name for column in SORTED for name in (column, f"-{column}"))]  # type: ignore[valid-type]


@dataclass(frozen=True)
class ScansPage:
    """Scans, the newest first, each with its bar, and the form that starts one. ``live``: one of them is running."""

    scans: tuple[tuple[ScanRow, Progress], ...]
    filters: dict[str, str]
    first: str | None
    next: str | None
    live: bool
    form: FormState
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class AuditLine:
    """An audit of a scan, with its result if it has one."""

    audit: ScanAudit
    state: str
    result: ResultRow | None


@dataclass(frozen=True)
class ScanPage:
    """One scan.

    Attributes:
        settings: names and values of what was scanned; the values of ``paths`` are shown to readers with a token only.
        command: quoted words, which start the same scan again; ``named`` says whether it names the models.
        retry: how failed and cancelled audits run again: by a button, by a command; None if there are none.
        report: whether the server makes a report of this scan; else the command does.
        lines: one page of the audits, of those in ``state`` if that is not empty, in the order ``sort``.
        previous: the scan before of the same request, which has ended.
    """

    scan: ScanDetail
    progress: Progress
    settings: tuple[tuple[str, str], ...]
    paths: tuple[tuple[str, str], ...]
    command: tuple[str, ...]
    named: bool
    retry: Literal["button", "command"] | None
    report: bool
    lines: tuple[AuditLine, ...]
    state: str
    sort: str
    page: int
    pages: int
    previous: int | None

    def link(self, **changes: object) -> str:
        """The address of another page, state or order of the table."""
        query = {name: value for name, value in ({"state": self.state, "sort": self.sort} | changes).items() if value}
        return f"/scans/{self.scan.scan}" + (f"?{urlencode(query)}" if query else "")

    def sorted_by(self, name: str) -> str:
        """The address of the order by a column: descending first, ascending if it is descending now."""
        return self.link(sort=name if self.sort == f"-{name}" else f"-{name}")


@dataclass(frozen=True)
class DifferencePage:
    """A scan after the scan before; ``groups`` have a heading, and models with what has changed."""

    scan: int
    diff: Diff | None
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@router.get("/scans", response_class=HTMLResponse)
def show_scans(
    request: Request,
    engine: Database,
    _: PageAccess,
) -> HTMLResponse:
    return _render_scans(request, engine, FormState.from_query(request))


@router.post("/scans")
def start(
    request: Request,
    engine: Database,
    _: Annotated[Bearer, Depends(require_sign_in("scan", "/scans"))],
    fields: Fields,
) -> Response:
    try:
        number = request.app.state.background().start_scan(_parse_scan(fields))
    except AuditorError as error:
        names = "models" if fields.get("models") else "match"
        form = FormState.from_error(fields, error, names=names)
        return _render_scans(request, engine, form, status_of(error))
    return RedirectResponse(f"/scans/{number}", 303)


@router.post("/scans/{number}/cancel")
def cancel(engine: Database, number: Number, owner: ScanSignIn) -> RedirectResponse:
    api.cancel(engine, number, owner)
    return RedirectResponse(f"/scans/{number}", 303)


@router.post("/scans/{number}/retry")
def retry(request: Request, engine: Database, number: Number, owner: ScanSignIn) -> RedirectResponse:
    api.retry(request, engine, number, owner)
    return RedirectResponse(f"/scans/{number}", 303)


@router.get("/scans/{number}", response_class=HTMLResponse)
def show_scan(
    request: Request,
    engine: Database,
    _: PageAccess,
    number: Number,
    state: Literal["", "done", "reused", "failed", "cancelled", "running", "queued"] = "",
    sort: Sorting = "",  # type: ignore[valid-type]
    page: Page = 1,
) -> HTMLResponse:
    scan, settings = load_scan(engine, number), load_settings(engine, number)
    chosen = [audit for audit in scan.audits if state in ("", _state(audit))]
    if sort:
        place = {audit: at for at, audit in enumerate(list_ids(engine, Filter(scan=number), sort))}
        chosen.sort(key=lambda audit: place.get(audit.audit, len(place)))
    page = last_page(page, len(chosen), AUDITS)
    shown = chosen[(page - 1) * AUDITS : page * AUDITS]
    done = tuple(audit.audit for audit in shown if audit.state == "done")
    results = {row.id: row for row in list_results(engine, Filter(scan=number, ids=done))} if done else {}
    models = list(dict.fromkeys(audit.model for audit in scan.audits))
    context = ScanPage(
        scan=scan,
        progress=scan_progress(scan),
        settings=tuple(_describe(settings, len(models))),
        paths=tuple(_paths(settings)),
        command=tuple(map(shlex.quote, scan_command(settings, models, paths=find_user(request) is not None))),
        named=len(models) <= MOST_MODELS,
        retry=_how_to_retry(scan, settings),
        report=scan.done + scan.reused + scan.failed > 0 and len(models) <= MOST_IN_REPORT,
        lines=tuple(AuditLine(audit, _state(audit), results.get(audit.audit)) for audit in shown),
        state=state,
        sort=sort,
        page=page,
        pages=max(1, -(-len(chosen) // AUDITS)),
        previous=previous_scan(engine, number) if scan.state != "running" else None,
    )
    return render_page(request, "scan.html", context)


@router.get("/scans/{number}/difference", response_class=HTMLResponse)
def show_difference(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    before = previous_scan(engine, number)
    diff = diff_scans(engine, before, number, gap_drop=GAP_DROP) if before is not None else None
    context = DifferencePage(number, diff, tuple(_group(diff)) if diff else ())
    return render_page(request, "scan_difference.html", context)


@router.get("/scans/{number}/report")
def download_report(engine: Database, _: PageAccess, number: Number) -> Response:
    from auditor.web.report import load_report, write_report

    if len(load_scan(engine, number).audits) > MOST_IN_REPORT:
        command = f"`auditor report {number} -o report.html`"
        raise UsageError(f"the server makes reports of at most {MOST_IN_REPORT} audits; run {command}")
    name = f'attachment; filename="scan-{number}.html"'
    return HTMLResponse(write_report(load_report(engine, number)), headers={"Content-Disposition": name})


def _render_scans(request: Request, engine: Engine, form: FormState, status: int = 200) -> HTMLResponse:
    from auditor.data.known import DATA_SETS

    query = request.query_params if request.method in ("GET", "HEAD") else {}
    filters = {name: query.get(f"only_{name}", "")[:20] for name in ("source", "state")}
    before = decode_number_cursor("scan", query.get("cursor"))
    chosen = {name: value or None for name, value in filters.items()}
    rows, following = split_page(
        list_scans(engine, **chosen, limit=SCANS + 1, before=before),
        SCANS,
        lambda row: encode_number_cursor("scan", row.scan),
    )
    used = {f"only_{name}": value for name, value in filters.items() if value}
    context = ScansPage(
        scans=tuple((row, scan_progress(row)) for row in rows),
        filters=filters,
        first="/scans?" + urlencode(used) if before is not None else None,
        next="/scans?" + urlencode(used | {"cursor": following}) if following else None,
        live=any(row.state == "running" for row in rows),
        form=form,
        datasets=tuple(DATA_SETS),
    )
    return render_page(request, "scans.html", context, status)


def _parse_scan(fields: dict[str, str]) -> ScanBody:
    """Read the form: models are separated by commas or lines, and a radius may be a fraction of 255."""
    parsed: dict[str, object] = {}
    if names := fields.get("models", "").replace(",", " ").split():
        parsed["models"] = names
    if eps := fields.get("eps", "").strip():
        try:
            parsed["eps"] = parse_eps(eps)
        except ValueError as error:
            raise InvalidFormError({"eps": str(error)}) from error
    return parse_form(ScanBody, fields, **parsed)


def _state(audit: ScanAudit) -> str:
    """The state as the bar counts it."""
    return "reused" if audit.reused else "running" if audit.state == "cancelling" else audit.state


def _how_to_retry(scan: ScanDetail, settings: ScanSettings) -> Literal["button", "command"] | None:
    if scan.state == "running" or not scan.failed + scan.cancelled:
        return None
    return "command" if uses_folder(settings) else "button"


def _describe(settings: ScanSettings, models: int) -> list[tuple[str, str]]:
    request, images = settings.request, settings.request.get("samples")
    balls = dict.fromkeys(format_threat(subject.norm, subject.eps) for subject in settings.subjects)
    pairs = [
        ("zoo", settings.source),
        ("models", str(models)),
        ("data", ", ".join(dict.fromkeys(subject.dataset for subject in settings.subjects))),
        ("threat model", ", ".join(balls)),
        ("protocol", str(request.get("protocol") or "–")),
        ("images", "none" if request.get("protocol") == "screen" else "all" if images is None else str(images)),
        ("seed", str(request.get("seed", 0))),
    ]
    if request.get("linearization", "remove") != "remove":
        pairs.append(("batch norm", str(request["linearization"])))
    named = {
        "sketch": "random images for C",
        "triage": "attacked from score",
        "targeted": "targeted attacks",
        "certify": "certificates",
        "sigma": "noise of the smoothing",
        "stop_at": "stops once decided at",
    }
    pairs += [(words, str(request[name])) for name, words in named.items() if request.get(name) is not None]
    pairs += [("stops once decided", "worse or better than before")] if request.get("stop_on_regression") else []
    pairs += [("curves", "measured")] if request.get("curve") else []
    pairs += [("gradients of the search", "mixed precision")] if request.get("mixed_precision") else []
    if label := attacks_label(request.get("extra_attacks")):
        pairs.append(("beyond the protocol", label))
    return [*pairs, ("device", str(request.get("device", "cpu")))]


def _paths(settings: ScanSettings) -> list[tuple[str, str]]:
    names = {"folder": "folder of the zoo", "data": "folder of the images", "adversarials": "adversarial images"}
    return [(words, str(settings.request[name])) for name, words in names.items() if settings.request.get(name)]


def _group(diff: Diff) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    groups = {
        "Worse": {model: "; ".join(worse) for model, worse in diff.regressions.items()},
        "Not reproduced": dict.fromkeys(diff.not_reproduced, "the same identity gave other verdicts"),
        "Failed": diff.failed,
        "Cancelled": dict.fromkeys(diff.cancelled, ""),
        "Changed": diff.changed,
        "New": dict.fromkeys(diff.new, ""),
        "Gone": dict.fromkeys(diff.gone, ""),
        "Not compared": diff.not_compared,
        "Verified again": dict.fromkeys(diff.reverified, "the same verdicts"),
    }
    return [(heading, tuple(models.items())) for heading, models in groups.items() if models]
