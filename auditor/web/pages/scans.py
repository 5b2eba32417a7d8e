"""The pages of scans: the list, and one scan with its audits."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.db.scans import list_scans, load_scan
from auditor.records.scans import ScanDetail, ScanRow
from auditor.web.api import scans as api
from auditor.web.api.common import Database, Number
from auditor.web.cleanup import end_dead_jobs
from auditor.web.pages.common import PageAccess, parse_form, render_page
from auditor.web.shapes.requests import ScanBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])


@dataclass(frozen=True)
class ScansPage:
    """The newest fifty scans."""

    scans: tuple[ScanRow, ...]


@dataclass(frozen=True)
class ScanPage:
    """One scan; ``ended`` counts its audits that are done or failed; cancelled ones are not progress."""

    scan: ScanDetail
    ended: int


@router.get("/scans", response_class=HTMLResponse)
def show_scans(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return render_page(request, "scans.html", ScansPage(tuple(list_scans(engine, limit=50))))


@router.post("/scans")
def start(
    request: Request,
    _: api.ScanToken,
    source: Annotated[str, Form(max_length=20)],
    protocol: Annotated[str, Form(max_length=20)],
    match: Annotated[str, Form(max_length=200)] = "",
    samples: Annotated[str, Form(max_length=9)] = "",
    triage: Annotated[str, Form(max_length=9)] = "",
) -> RedirectResponse:
    fields = {"source": source, "protocol": protocol, "match": match, "samples": samples, "triage": triage}
    body = parse_form(ScanBody, fields)
    return RedirectResponse(f"/scans/{request.app.state.background().start_scan(body)}", 303)


@router.post("/scans/{number}/cancel")
def cancel(engine: Database, number: Number, owner: api.ScanToken) -> RedirectResponse:
    api.cancel(engine, number, owner)
    return RedirectResponse(f"/scans/{number}", 303)


@router.get("/scans/{number}", response_class=HTMLResponse)
def show_scan(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    scan = load_scan(engine, number)
    ended = sum(audit.state in ("done", "failed") for audit in scan.audits)
    return render_page(request, "scan.html", ScanPage(scan, ended))
