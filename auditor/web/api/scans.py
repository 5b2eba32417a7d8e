"""Routes of scans: list, show, start, follow as server-sent events, cancel and retry."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from sse_starlette import EventSourceResponse

from auditor.db.scans import cancel_scan, list_scans, load_scan
from auditor.db.tokens import Bearer
from auditor.records.scans import ScanDetail
from auditor.results.serialize import serialize
from auditor.web.api.common import Cursor, Database, Name, Number, make_router, response_options
from auditor.web.api.events import stream_events
from auditor.web.cleanup import end_dead_jobs
from auditor.web.paging import decode_number_cursor, encode_number_cursor, split_page
from auditor.web.security.access import require_scope
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import ScanBody

router = make_router("scans", dependencies=[Depends(end_dead_jobs)])
ScanToken = Annotated[Bearer, Depends(require_scope("scan"))]


@router.get("/scans", **response_options(shapes.Scans))
def get_scans(
    engine: Database,
    state: Literal["running", "done", "interrupted"] | None = None,
    source: Name = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List scans, the newest first, each with its number of audits in each state. `next` is the next page's cursor."""
    read = list_scans(engine, state=state, source=source, limit=limit + 1, before=decode_number_cursor("scan", cursor))
    rows, following = split_page(read, limit, lambda row: encode_number_cursor("scan", row.scan))
    return {"scans": rows, "next": following}


@router.get("/scans/{number}", **response_options(shapes.ScanDetail))
def get_scan(engine: Database, number: Number) -> ScanDetail:
    """Return one scan with its audits: state, attempt, progress, and the reason of a failure."""
    return load_scan(engine, number)


@router.get("/scans/{number}/events", response_class=EventSourceResponse)
async def stream_scan_events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """Send the scan as an event `scan`, then each change with only the changed audits, and an event `end`."""
    return stream_events(request, "scan", number, lambda: serialize(load_scan(engine, number)))


@router.post("/scans", **response_options(shapes.ScanDetail, 202))
def start_scan(http: Request, answer: Response, engine: Database, body: ScanBody, _: ScanToken) -> ScanDetail:
    """Start a scan. Workers run it if the server has a broker; else the server runs its jobs one at a time."""
    number = http.app.state.background().start_scan(body)
    answer.headers["Location"] = f"/api/v1/scans/{number}"
    return load_scan(engine, number)


@router.post("/scans/{number}/cancel", **response_options(shapes.ScanDetail, 202))
def cancel(engine: Database, number: Number, owner: ScanToken) -> ScanDetail:
    """Cancel the queued audits of a scan, and ask the running ones to stop."""
    cancel_scan(engine, number, f"cancelled over HTTP by the token {owner.name}")
    return load_scan(engine, number)


@router.post("/scans/{number}/retry", **response_options(shapes.ScanDetail, 202))
def retry(http: Request, engine: Database, number: Number, _: ScanToken) -> ScanDetail:
    """Run the failed and cancelled audits of a scan again. A scan of a local zoo can only be retried on its machine."""
    http.app.state.background().retry_scan(number)
    return load_scan(engine, number)
