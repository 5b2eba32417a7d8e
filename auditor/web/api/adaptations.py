"""Routes of adaptations: list, show, follow as server-sent events, and cancel."""

import contextlib
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from sqlalchemy import Engine
from sse_starlette import EventSourceResponse

from auditor.db.tokens import Bearer
from auditor.db.trainings import Trainings, list_trainings, load_training
from auditor.errors import NotFoundError
from auditor.records.trainings import TrainingRow
from auditor.results.serialize import nan_to_none, serialize
from auditor.web.access import require_scope
from auditor.web.api.common import Cursor, Database, Number, make_router, response_options
from auditor.web.api.events import stream_events
from auditor.web.cleanup import end_dead_jobs
from auditor.web.paging import decode_number_cursor, encode_number_cursor, split_page
from auditor.web.shapes import adaptations as shapes

router = make_router("adaptations", dependencies=[Depends(end_dead_jobs)])
BoostToken = Annotated[Bearer, Depends(require_scope("boost"))]
_PRIVATE_FIELDS = ("history", "kind")
_RESULT_FIELDS = ("scores", "sources", "data_sha256", "notes")


@router.get("/adaptations", **response_options(shapes.Adaptations))
def get_adaptations(
    engine: Database,
    state: Literal["done", "failed", "cancelled", "queued", "running"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List adaptations, the newest first. `next` is the cursor of the next page."""
    before = decode_number_cursor("adaptation", cursor)
    read = list_trainings(engine, kind="adapt", state=state, limit=limit + 1, before=before)
    rows, following = split_page(read, limit, lambda row: encode_number_cursor("adaptation", row.id))
    return {"adaptations": [_to_public(row) for row in rows], "next": following}


@router.get("/adaptations/{number}", **response_options(shapes.Adaptation))
def get_adaptation(engine: Database, number: Number) -> dict[str, Any]:
    """Return one adaptation: its classes, its settings, and a score for each seed and number of target images."""
    return _to_public(load_adaptation(engine, number))


@router.get("/adaptations/{number}/events", response_class=EventSourceResponse)
async def stream_adaptation_events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """Send the adaptation as an event `adaptation` after each change, and an event `end` when it has ended."""
    return stream_events(request, "adaptation", number, lambda: nan_to_none(get_adaptation(engine, number)))


@router.post("/adaptations/{number}/cancel", **response_options(shapes.Adaptation, 202))
def cancel_adaptation(engine: Database, number: Number, owner: BoostToken) -> dict[str, Any]:
    """Cancel a queued adaptation, or ask a running one to stop. It saves no progress."""
    load_adaptation(engine, number)
    Trainings(engine).cancel(number, f"cancelled over HTTP by the token {owner.name}")
    return get_adaptation(engine, number)


def load_adaptation(engine: Engine, number: int) -> TrainingRow:
    """Load a training job that is an adaptation. Raises NotFoundError for other jobs, too."""
    with contextlib.suppress(NotFoundError):
        row = load_training(engine, number)
        if row.kind == "adapt":
            return row
    raise NotFoundError(f"there is no adaptation {number}")


def _to_public(row: TrainingRow) -> dict[str, Any]:
    """Keep the part of the request that decides the numbers: the rest tells paths of this machine."""
    public = {name: value for name, value in serialize(row).items() if name not in _PRIVATE_FIELDS}
    result = row.result and {name: row.result[name] for name in _RESULT_FIELDS}
    return public | {"request": row.request["adapt"], "device": row.request["device"], "result": result}
