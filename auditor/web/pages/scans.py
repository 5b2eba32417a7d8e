"""Scans: the newest, and one with its audits, live."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from auditor.db.scans import list_scans
from auditor.db.tokens import Bearer
from auditor.errors import UsageError
from auditor.leaderboard.groups import Row
from auditor.web.access import requires
from auditor.web.api.common import Database, Number
from auditor.web.api.scans import find
from auditor.web.asked import ScanAsked
from auditor.web.pages.common import Looking, page

router = APIRouter()


@dataclass(frozen=True)
class Scans:
    """The newest fifty."""

    scans: tuple[Row, ...]


@dataclass(frozen=True)
class Scan:
    """One of them; ``ended`` counts its audits that need nothing more."""

    scan: Row
    ended: int


@router.get("/scans", response_class=HTMLResponse)
def scans(request: Request, engine: Database, _: Looking) -> HTMLResponse:
    return page(request, "scans.html", Scans(tuple(list_scans(engine, limit=50))))


@router.post("/scans")
def begin(
    request: Request,
    bearer: Annotated[Bearer, Depends(requires("scan"))],  # noqa: ARG001
    source: Annotated[str, Form(max_length=20)],
    protocol: Annotated[str, Form(max_length=20)],
    match: Annotated[str, Form(max_length=200)] = "",
    samples: Annotated[str, Form(max_length=9)] = "",
) -> RedirectResponse:
    """The form: the cookie that lets it in is one that other sites cannot send, and the page must be our own."""
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc != request.url.netloc:
        raise HTTPException(403, "this form is for pages of this server alone")
    try:
        asked = ScanAsked.model_validate(
            {"source": source, "protocol": protocol, "match": match or None, "samples": samples or None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error
    return RedirectResponse(f"/scans/{request.app.state.work().scan(asked)}", 303)


@router.get("/scans/{number}", response_class=HTMLResponse)
def scan(request: Request, engine: Database, _: Looking, number: Number) -> HTMLResponse:
    found = find(engine, number)
    ended = sum(audit["state"] in ("done", "failed", "cancelled") for audit in found["audits"])
    return page(request, "scan.html", Scan(found, ended))
