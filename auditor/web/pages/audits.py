"""One audit, whole; and a model's newest one by its name."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.db.results import Filter, list_results
from auditor.errors import UsageError
from auditor.records.results import ResultRow
from auditor.results.lookup import find_rows
from auditor.web.api.common import Database, Number
from auditor.web.api.results import find
from auditor.web.audit_detail import AuditDetail, sheet
from auditor.web.errors import PageNotFoundError
from auditor.web.pages.common import Looking, page

router = APIRouter()


@dataclass(frozen=True)
class Audit:
    """``others``: the model's other results, the newest first."""

    sheet: AuditDetail
    others: tuple[ResultRow, ...]


@router.get("/audits/{number}", response_class=HTMLResponse)
def audit(request: Request, engine: Database, _: Looking, number: Number) -> HTMLResponse:
    detail = find(engine, number)
    nights = list_results(
        engine, Filter(model=detail.row.model, status="done", history=True), sort="-started_at", limit=200
    )
    others = tuple(row for row in nights if row.id != number)
    return page(request, "audit.html", Audit(sheet(detail, nights), others))


@router.get("/models/{name:path}")
def model(engine: Database, _: Looking, name: str) -> RedirectResponse:
    try:
        rows = find_rows(engine, name, None, None)
    except UsageError as error:
        raise PageNotFoundError(str(error)) from error
    return RedirectResponse(f"/audits/{rows[0].id}", 302)
