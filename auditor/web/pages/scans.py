"""Scans: the newest, and one with its audits, live."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.db.scans import list_scans
from auditor.db.tokens import Bearer
from auditor.web.access import requires
from auditor.web.api.common import Database, Number
from auditor.web.api.scans import cancel, find
from auditor.web.cleanup import tidy
from auditor.web.pages.common import Looking, asked_of, page
from auditor.web.shapes.requests import ScanBody

router = APIRouter(dependencies=[Depends(tidy)])
Scanner = Annotated[Bearer, Depends(requires("scan"))]


@dataclass(frozen=True)
class Scans:
    """The newest fifty."""

    scans: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Scan:
    """One of them; ``ended`` counts its audits that need nothing more."""

    scan: dict[str, Any]
    ended: int


@router.get("/scans", response_class=HTMLResponse)
def scans(request: Request, engine: Database, _: Looking) -> HTMLResponse:
    return page(request, "scans.html", Scans(tuple(list_scans(engine, limit=50))))


@router.post("/scans")
def begin(
    request: Request,
    _: Scanner,
    source: Annotated[str, Form(max_length=20)],
    protocol: Annotated[str, Form(max_length=20)],
    match: Annotated[str, Form(max_length=200)] = "",
    samples: Annotated[str, Form(max_length=9)] = "",
) -> RedirectResponse:
    asked = asked_of(ScanBody, {"source": source, "protocol": protocol, "match": match, "samples": samples})
    return RedirectResponse(f"/scans/{request.app.state.work().scan(asked)}", 303)


@router.post("/scans/{number}/cancel")
def end(engine: Database, number: Number, bearer: Scanner) -> RedirectResponse:
    cancel(engine, number, bearer)
    return RedirectResponse(f"/scans/{number}", 303)


@router.get("/scans/{number}", response_class=HTMLResponse)
def scan(request: Request, engine: Database, _: Looking, number: Number) -> HTMLResponse:
    found = find(engine, number)
    ended = sum(audit["state"] in ("done", "failed", "cancelled") for audit in found["audits"])
    return page(request, "scan.html", Scan(found, ended))
