"""The page of one audit, and the redirection from a model's name to its audit."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.db.results import Filter, list_results
from auditor.records.results import ResultRow
from auditor.results.lookup import find_rows
from auditor.web.api.common import Database, Number
from auditor.web.api.results import load_result
from auditor.web.audit_detail import AuditDetail, build_audit_detail
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()


@dataclass(frozen=True)
class AuditPage:
    """``others`` are the other results of the model, the newest first."""

    audit: AuditDetail
    others: tuple[ResultRow, ...]


@router.get("/audits/{number}", response_class=HTMLResponse)
def show_audit(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    detail = load_result(engine, number)
    results = list_results(
        engine, Filter(model=detail.row.model, status="done", history=True), sort="-started_at", limit=200
    )
    others = tuple(row for row in results if row.id != number)
    return render_page(request, "audit.html", AuditPage(build_audit_detail(detail, results), others))


@router.get("/models/{name:path}")
def redirect_to_audit(engine: Database, _: PageAccess, name: str) -> RedirectResponse:
    rows = find_rows(engine, name, None, None)
    return RedirectResponse(f"/audits/{rows[0].id}", 302)
