"""What all routes of the API take and give."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine

from auditor.results.serialize import nan_to_none
from auditor.web.shapes import Shape

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": words, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    for code, words in {
        400: "malformed, or for another host", 401: "no token that is good", 403: "the token lacks the scope",
        404: "there is no such thing", 413: "the body is too large", 422: "not what was expected",
        429: "too many requests, or streams", 503: "no database, or too many streams",
    }.items()
}  # fmt: skip


def answers(shape: type[Shape], status: int = 200) -> dict[str, Any]:
    """Options of a route that answers in this shape: the schema says so, and nothing is checked twice."""
    return {"status_code": status, "response_model": None, "responses": {status: {"model": shape}}}


def engine_of(request: Request) -> Engine:
    """The database of the server."""
    engine: Engine = request.app.state.engine
    return engine


Database = Annotated[Engine, Depends(engine_of)]
Name = Annotated[str | None, Query(max_length=200)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Json(JSONResponse):
    """Numbers that JSON has no word for are null."""

    def render(self, content: Any) -> bytes:
        return super().render(nan_to_none(content))
