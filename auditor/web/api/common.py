"""Parameters and responses that all routes of the API share."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import JSONResponse
from sqlalchemy import Engine

from auditor.errors import UsageError
from auditor.text.similar import did_you_mean
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
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    for code, text in {
        400: "The request is malformed, or its Host header names another server.",
        401: "The token is missing or invalid.",
        403: "The token does not have the scope that this request needs.",
        404: "The object was not found.",
        409: "The object's state does not allow this request.",
        413: "The body is too large.",
        422: "A parameter or a field of the body has an invalid value.",
        429: "The client has sent too many requests, or has too many event streams open.",
        503: "The database or a data set is not usable, or the server has too many event streams open.",
    }.items()
}


def response_options(shape: type[Shape], status: int = 200) -> dict[str, Any]:
    """Return the options of a route whose response has this shape; the shape is documented, not validated again."""
    return {"status_code": status, "response_model": None, "responses": {status: {"model": shape}}}


def get_engine(request: Request) -> Engine:
    """Return the server's database engine."""
    engine: Engine = request.app.state.engine
    return engine


Database = Annotated[Engine, Depends(get_engine)]
Name = Annotated[str | None, Query(max_length=200)]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, description="The value of `next` of the page before; leave it out for the first page."),
]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class FiniteJSONResponse(JSONResponse):
    """JSON in which NaN and infinite numbers are null.

    Routes of long lists return it themselves: records in it need no conversion, which takes FastAPI as long as all the
    rest of the request.
    """

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def check_query(request: Request) -> None:
    """Raises UsageError for a query parameter that the route does not have, which would be ignored silently."""
    known = _query_names(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            hint = did_you_mean(name, known, f"known: {', '.join(known) or 'none'}", 1)
            raise UsageError(f"unknown query parameter {name[:100]!r}; {hint}")


def _query_names(dependant: Dependant) -> list[str]:
    below = [name for one in dependant.dependencies for name in _query_names(one)]
    return [*(field.alias for field in dependant.query_params), *below]


def make_router(tag: str, dependencies: Sequence[Any] = ()) -> APIRouter:
    """Make the router of one kind of object."""
    return APIRouter(
        tags=[tag],
        responses=ERROR_RESPONSES,
        default_response_class=FiniteJSONResponse,
        dependencies=[Depends(check_query), *dependencies],
    )
