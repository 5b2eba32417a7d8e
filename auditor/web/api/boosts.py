"""Boosts: listed, shown, asked for, followed as server-sent events, cancelled, gone on with."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import Engine
from sse_starlette import EventSourceResponse

from auditor.db.tokens import Bearer
from auditor.db.trainings import Trainings, list_trainings, load_training
from auditor.errors import UsageError
from auditor.results.serialize import nan_to_none
from auditor.web.access import requires
from auditor.web.api.common import PROBLEMS, Database, Json, Number, answers
from auditor.web.api.events import follow
from auditor.web.cleanup import tidy
from auditor.web.errors import PageNotFoundError
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import BoostBody

router = APIRouter(tags=["boosts"], responses=PROBLEMS, default_response_class=Json, dependencies=[Depends(tidy)])
Booster = Annotated[Bearer, Depends(requires("boost"))]


@router.get("/boosts", **answers(shapes.Boosts))
def list_(engine: Database, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
    """The newest boosts."""
    return {"boosts": [_told(row) for row in list_trainings(engine, kind="boost", limit=limit)]}


@router.get("/boosts/{number}", **answers(shapes.Boost))
def show(engine: Database, number: Number) -> dict[str, Any]:
    """One boost, with its epochs as validation saw them."""
    return _told(find(engine, number))


@router.get("/boosts/{number}/events", response_class=EventSourceResponse)
async def events(request: Request, engine: Database, number: Number) -> EventSourceResponse:
    """The boost each time that it has changed (``boost``), and once more when it has ended (``end``)."""
    return follow(request, "boost", number, lambda: nan_to_none(show(engine, number)))


@router.post("/boosts", **answers(shapes.Boost, 202))
def request(http: Request, answer: Response, engine: Database, asked: BoostBody, _: Booster) -> dict[str, Any]:
    """Begin a boost: by a worker where the server has a broker, else by the server, one thing after the other."""
    number = http.app.state.work().boost(asked)
    answer.headers["Location"] = f"/api/v1/boosts/{number}"
    return show(engine, number)


@router.post("/boosts/{number}/cancel", **answers(shapes.Boost, 202))
def cancel(engine: Database, number: Number, bearer: Booster) -> dict[str, Any]:
    """Cancel a boost that waits, and ask for the end of one that runs; its last epoch is kept."""
    find(engine, number)
    Trainings(engine).cancel(number, f"cancelled over HTTP by the token {bearer.name}")
    return show(engine, number)


@router.post("/boosts/{number}/resume", **answers(shapes.Boost, 202))
def resume(http: Request, engine: Database, number: Number, _: Booster) -> dict[str, Any]:
    """Go on with a boost that failed or was cancelled, from its last epoch."""
    find(engine, number)
    http.app.state.work().resume(number)
    return show(engine, number)


def find(engine: Engine, number: int) -> dict[str, Any]:
    """Raises PageNotFoundError where there is no such boost."""
    try:
        found = load_training(engine, number)
    except UsageError as error:
        raise PageNotFoundError(f"there is no boost {number}") from error
    if found["kind"] != "boost":
        raise PageNotFoundError(f"there is no boost {number}")
    return found


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """What was asked for without where anything lies on this machine."""
    request = row["request"]
    told = {name: value for name, value in row.items() if name not in ("request", "result", "kind")}
    return told | {"recipe": request["recipe"], **{name: request["scan"][name] for name in ASKED}}


ASKED = ("protocol", "samples", "device")
