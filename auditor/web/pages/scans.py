"""The pages of scans: the list, and one scan with its audits."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from auditor.db.scans import list_scans, load_scan
from auditor.db.tokens import Bearer
from auditor.errors import AuditorError
from auditor.records.scans import ScanDetail, ScanRow
from auditor.web.api import scans as api
from auditor.web.api.common import Database, Number
from auditor.web.cleanup import end_dead_jobs
from auditor.web.errors import status_of
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import Fields, FormState, parse_form, require_sign_in
from auditor.web.shapes.requests import ScanBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])


@dataclass(frozen=True)
class ScansPage:
    """The newest fifty scans, and the form that starts one."""

    scans: tuple[ScanRow, ...]
    form: FormState


@dataclass(frozen=True)
class ScanPage:
    """One scan; ``ended`` counts its audits that are done or failed; cancelled ones are not progress."""

    scan: ScanDetail
    ended: int


@router.get("/scans", response_class=HTMLResponse)
def show_scans(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return _render_scans(request, engine, FormState.from_query(request))


@router.post("/scans")
def start(
    request: Request,
    engine: Database,
    _: Annotated[Bearer, Depends(require_sign_in("scan", "/scans"))],
    fields: Fields,
) -> Response:
    try:
        number = request.app.state.background().start_scan(parse_form(ScanBody, fields))
    except AuditorError as error:
        form = FormState.from_error(fields, error, names="match")
        return _render_scans(request, engine, form, status_of(error))
    return RedirectResponse(f"/scans/{number}", 303)


@router.post("/scans/{number}/cancel")
def cancel(
    engine: Database,
    number: Number,
    owner: Annotated[Bearer, Depends(require_sign_in("scan", "/scans/{number}"))],
) -> RedirectResponse:
    api.cancel(engine, number, owner)
    return RedirectResponse(f"/scans/{number}", 303)


@router.get("/scans/{number}", response_class=HTMLResponse)
def show_scan(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    scan = load_scan(engine, number)
    ended = sum(audit.state in ("done", "failed") for audit in scan.audits)
    return render_page(request, "scan.html", ScanPage(scan, ended))


def _render_scans(request: Request, engine: Engine, form: FormState, status: int = 200) -> HTMLResponse:
    return render_page(request, "scans.html", ScansPage(tuple(list_scans(engine, limit=50)), form), status)
