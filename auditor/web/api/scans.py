"""Scans: listed, shown, followed as server-sent events, cancelled."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import Engine
from sse_starlette import EventSourceResponse

from auditor.db.scans import cancel_scan, list_scans, load_scan
from auditor.db.tokens import Bearer
from auditor.errors import UsageError
from auditor.web.access import requires
from auditor.web.api.common import PROBLEMS, Database, Json, Number, answers
from auditor.web.api.events import follow
from auditor.web.cleanup import tidy
from auditor.web.errors import PageNotFoundError
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import ScanBody

router = APIRouter(tags=["scans"], responses=PROBLEMS, default_response_class=Json, dependencies=[Depends(tidy)])


@router.get("/scans", **answers(shapes.Scans))
def list_(
    engine: Database,
    state: Literal["running", "done", "interrupted"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """The newest scans, with how many of their audits are in which state."""
    return {"scans": list_scans(engine, state=state, limit=limit)}


@router.get("/scans/{number}", **answers(shapes.ScanDetail))
def show(engine: Database, number: Number) -> dict[str, Any]:
    """One scan with its audits: state, attempt, how far, why they failed."""
    return find(engine, number)


@router.get("/scans/{number}/events", response_class=EventSourceResponse)
async def events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """The scan, then each change of it with the audits that have changed (``scan``), then its end (``end``)."""
    return follow(request, "scan", number, lambda: find(engine, number))


@router.post("/scans", **answers(shapes.ScanDetail, 202))
def request(
    http: Request, answer: Response, engine: Database, asked: ScanBody, _: Annotated[Bearer, Depends(requires("scan"))]
) -> dict[str, Any]:
    """Begin a scan: by workers where the server has a broker, else by the server, one after the other."""
    number = http.app.state.work().scan(asked)
    answer.headers["Location"] = f"/api/v1/scans/{number}"
    return find(engine, number)


@router.post("/scans/{number}/cancel", **answers(shapes.ScanDetail, 202))
def cancel(engine: Database, number: Number, bearer: Annotated[Bearer, Depends(requires("scan"))]) -> dict[str, Any]:
    """Cancel what is queued, and ask for the end of what runs."""
    find(engine, number)
    cancel_scan(engine, number, f"cancelled over HTTP by the token {bearer.name}")
    return find(engine, number)


def find(engine: Engine, number: int) -> dict[str, Any]:
    """Raises PageNotFoundError where there is no such scan."""
    try:
        return load_scan(engine, number)
    except UsageError as error:
        raise PageNotFoundError(f"there is no scan {number}") from error
