"""The page of one audit, and the redirection from a model's name to its audit."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import Engine

from auditor.db.results import Filter, list_results, load_detail
from auditor.db.scans import find_scan, load_scan, newest_request
from auditor.errors import NotFoundError
from auditor.records.results import ResultRow
from auditor.records.scans import ScanDetail
from auditor.results.lookup import find_rows
from auditor.text.eps import format_threat
from auditor.text.signs_of_life import no_sign_of_life, no_worker, start_worker
from auditor.web.api.common import Database, Number
from auditor.web.api.results import load_result
from auditor.web.audit.detail import AuditDetail, build_audit_detail, repeat_command
from auditor.web.audit.pictures import (
    Order,
    SampleSection,
    build_samples,
    build_templates,
    possible_orders,
    shared_order,
)
from auditor.web.figures.templates import PER_PAGE, TemplateTiles
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
Text = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]


@dataclass(frozen=True)
class AuditPage:
    """``others`` are the other results of the model, the newest first; ``orders`` those of the classes to choose."""

    audit: AuditDetail
    others: tuple[ResultRow, ...]
    orders: dict[str, str]
    order: Order
    samples: SampleSection | None
    query: str
    """The chosen class and attack, to append to a link."""


@dataclass(frozen=True)
class UnfinishedAuditPage:
    """An audit without a result, its scan, the command that repeats it, and the results of its model.

    ``sign``: what was last seen of its process, or that no worker serves its queue; empty if all is as expected.
    """

    row: ResultRow
    scan: int | None
    sign: str
    threat_model: str
    command: str
    others: tuple[ResultRow, ...]


@dataclass(frozen=True)
class TemplatesPage:
    """A page of an audit's templates; ``match`` is the searched text."""

    number: int
    model: str
    section: TemplateTiles
    match: str
    previous: str | None
    next: str | None


@router.get("/audits/{number}", response_class=HTMLResponse)
def show_audit(
    request: Request,
    engine: Database,
    _: PageAccess,
    number: Number,
    order: Order = "own",
    class_name: Annotated[str, Query(alias="class", max_length=200)] = "",
    attack: Text = "",
    page: PageNumber = 1,
) -> HTMLResponse:
    found = list_results(engine, Filter(id=number, history=True))
    if not found:
        raise NotFoundError(f"there is no result {number}")
    if found[0].status != "done":
        return render_page(request, "unfinished_audit.html", _unfinished(engine, found[0]))
    detail = load_detail(engine, number)
    results = list_results(
        engine, Filter(model=detail.row.model, status="done", history=True), sort="-started_at", limit=200
    )
    others = tuple(row for row in results if row.id != number)
    audit = build_audit_detail(
        detail,
        results,
        order=shared_order(detail, order),
        templates=build_templates(engine, detail),
        request=newest_request(engine, number),
    )
    keep = {} if order == "own" else {"order": order}
    chosen = {name: value for name, value in (("class", class_name), ("attack", attack)) if value}
    query = f"&{urlencode(chosen)}" if chosen else ""
    samples = build_samples(detail, chosen_class=class_name, attack=attack, page=page, keep=keep)
    return render_page(request, "audit.html", AuditPage(audit, others, possible_orders(detail), order, samples, query))


def _unfinished(engine: Engine, row: ResultRow) -> UnfinishedAuditPage:
    others = list_results(engine, Filter(model=row.model, status="done", history=True), sort="-started_at", limit=20)
    scan, request = find_scan(engine, row.id), newest_request(engine, row.id)
    sign = _sign_of_life(load_scan(engine, scan), row.id) if scan is not None else ""
    command = repeat_command(row, request)
    return UnfinishedAuditPage(row, scan, sign, format_threat(row.norm, row.eps), command, tuple(others))


def _sign_of_life(scan: ScanDetail, audit_id: int) -> str:
    (audit,) = (one for one in scan.audits if one.audit == audit_id)
    if audit.silent_since is not None:
        return f"{no_sign_of_life(audit.silent_since)} of {audit.worker}"
    return f"{no_worker(scan.queue)}; {start_worker(scan.queue)}" if audit.state == "queued" and scan.unserved else ""


@router.get("/audits/{number}/templates", response_class=HTMLResponse)
def show_templates(
    request: Request, engine: Database, _: PageAccess, number: Number, match: Text = "", page: PageNumber = 1
) -> HTMLResponse:
    detail = load_result(engine, number)
    section = build_templates(engine, detail, match=match, page=page, per_page=PER_PAGE)

    def link(target: int) -> str:
        return "?" + urlencode(({"match": match} if match else {}) | {"page": str(target)})

    context = TemplatesPage(
        number=number,
        model=detail.row.model,
        section=section,
        match=match,
        previous=link(section.page - 1) if section.page > 1 else None,
        next=link(section.page + 1) if section.page * PER_PAGE < section.matches else None,
    )
    return render_page(request, "audit_templates.html", context)


@router.get("/models/{name:path}")
def redirect_to_audit(engine: Database, _: PageAccess, name: str) -> RedirectResponse:
    rows = find_rows(engine, name, None, None)
    return RedirectResponse(f"/audits/{rows[0].id}", 302)
