"""Routes of boosts: list, show, start, follow as server-sent events, cancel and resume."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from sse_starlette import EventSourceResponse

from auditor.db.tokens import Bearer
from auditor.records.trainings import TrainingRow
from auditor.results.serialize import nan_to_none, serialize
from auditor.web.api.common import Cursor, Database, Number, make_router, response_options
from auditor.web.api.events import stream_events
from auditor.web.api.trainings import cancel_job, load_job, load_page
from auditor.web.cleanup import end_dead_jobs
from auditor.web.security.access import require_scope
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import BoostBody

router = make_router("boosts", dependencies=[Depends(end_dead_jobs)])
BoostToken = Annotated[Bearer, Depends(require_scope("boost"))]
_REQUEST_FIELDS = ("protocol", "samples", "device")
_PRIVATE_FIELDS = ("request", "result", "kind")
"""The request holds paths of this machine."""


@router.get("/boosts", **response_options(shapes.Boosts))
def get_boosts(
    engine: Database, limit: Annotated[int, Query(ge=1, le=500)] = 50, cursor: Cursor = None
) -> dict[str, Any]:
    """List boosts, the newest first. `next` is the cursor of the next page."""
    rows, following = load_page(engine, "boost", limit, cursor)
    return {"boosts": [_to_public(row) for row in rows], "next": following}


@router.get("/boosts/{number}", **response_options(shapes.Boost))
def get_boost(engine: Database, number: Number) -> dict[str, Any]:
    """Return one boost, with the validation scores of each epoch."""
    return _to_public(load_job(engine, "boost", number))


@router.get("/boosts/{number}/events", response_class=EventSourceResponse)
async def stream_boost_events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """Send the boost as an event `boost` after each change, and an event `end` when it has ended."""
    return stream_events(request, "boost", number, lambda: nan_to_none(get_boost(engine, number)))


@router.post("/boosts", **response_options(shapes.Boost, 202))
def start_boost(http: Request, answer: Response, engine: Database, body: BoostBody, _: BoostToken) -> dict[str, Any]:
    """Start a boost. Workers run it if the server has a broker; else the server runs its jobs one at a time."""
    number = http.app.state.background().start_boost(body)
    answer.headers["Location"] = f"/api/v1/boosts/{number}"
    return get_boost(engine, number)


@router.post("/boosts/{number}/cancel", **response_options(shapes.Boost, 202))
def cancel_boost(engine: Database, number: Number, owner: BoostToken) -> dict[str, Any]:
    """Cancel a queued boost, or ask a running one to stop. Its last saved epoch is kept."""
    cancel_job(engine, "boost", number, owner)
    return get_boost(engine, number)


@router.post("/boosts/{number}/resume", **response_options(shapes.Boost, 202))
def resume_boost(http: Request, engine: Database, number: Number, _: BoostToken) -> dict[str, Any]:
    """Resume a failed or cancelled boost from its last saved epoch."""
    load_job(engine, "boost", number)
    http.app.state.background().resume_boost(number)
    return get_boost(engine, number)


def _to_public(row: TrainingRow) -> dict[str, Any]:
    """Drop what tells paths of this machine."""
    request = row.request
    public = {name: value for name, value in serialize(row).items() if name not in _PRIVATE_FIELDS}
    return public | {"recipe": request["recipe"], **{name: request["scan"][name] for name in _REQUEST_FIELDS}}
