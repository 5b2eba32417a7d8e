"""Routes of adaptations: list, show, follow as server-sent events, and cancel."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from sse_starlette import EventSourceResponse

from auditor.db.tokens import Bearer
from auditor.records.results import State
from auditor.records.trainings import TrainingRow
from auditor.results.serialize import nan_to_none, serialize
from auditor.web.api.common import Cursor, Database, Number, make_router, response_options
from auditor.web.api.events import stream_events
from auditor.web.api.trainings import cancel_job, load_job, load_page
from auditor.web.cleanup import end_dead_jobs
from auditor.web.security.access import require_scope
from auditor.web.shapes import adaptations as shapes

router = make_router("adaptations", dependencies=[Depends(end_dead_jobs)])
BoostToken = Annotated[Bearer, Depends(require_scope("boost"))]
_PRIVATE_FIELDS = ("history", "kind")
_RESULT_FIELDS = ("scores", "sources", "data_sha256", "notes")


@router.get("/adaptations", **response_options(shapes.Adaptations))
def get_adaptations(
    engine: Database,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List adaptations, the newest first. `next` is the cursor of the next page."""
    rows, following = load_page(engine, "adapt", limit, cursor, state)
    return {"adaptations": [_to_public(row) for row in rows], "next": following}


@router.get("/adaptations/{number}", **response_options(shapes.Adaptation))
def get_adaptation(engine: Database, number: Number) -> dict[str, Any]:
    """Return one adaptation: its classes, its settings, and a score for each seed and number of target images."""
    return _to_public(load_job(engine, "adapt", number))


@router.get("/adaptations/{number}/events", response_class=EventSourceResponse)
async def stream_adaptation_events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """Send the adaptation as an event `adaptation` after each change, and an event `end` when it has ended."""
    return stream_events(request, "adaptation", number, lambda: nan_to_none(get_adaptation(engine, number)))


@router.post("/adaptations/{number}/cancel", **response_options(shapes.Adaptation, 202))
def cancel_adaptation(engine: Database, number: Number, owner: BoostToken) -> dict[str, Any]:
    """Cancel a queued adaptation, or ask a running one to stop. It saves no progress."""
    cancel_job(engine, "adapt", number, owner)
    return get_adaptation(engine, number)


def _to_public(row: TrainingRow) -> dict[str, Any]:
    """Keep the part of the request that decides the numbers: the rest tells paths of this machine."""
    public = {name: value for name, value in serialize(row).items() if name not in _PRIVATE_FIELDS}
    result = row.result and {name: row.result[name] for name in _RESULT_FIELDS}
    return public | {"request": row.request["adapt"], "device": row.request["device"], "result": result}
