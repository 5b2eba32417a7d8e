"""Error responses: the status code of each cause, as RFC 9457 problem+json for programs and as a page for people."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from auditor.errors import (
    AuditorError,
    ConflictError,
    EnvironmentUnusableError,
    InputError,
    NotFoundError,
    UsageError,
    one_line,
)
from auditor.text.printable import clean_line
from auditor.web.render import render

STATUS_CODES: dict[type[AuditorError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    UsageError: 422,
    InputError: 422,
    EnvironmentUnusableError: 503,
    AuditorError: 500,
}
"""The nearest base class of an error decides."""


@dataclass(frozen=True)
class ErrorPage:
    """``title`` is the phrase of the status code; ``detail`` says what was wrong and what to do."""

    title: str
    detail: str


def status_of(error: AuditorError) -> int:
    """Return the status code of an error's cause."""
    return next(STATUS_CODES[base] for base in type(error).__mro__ if base in STATUS_CODES)


@contextlib.contextmanager
def as_invalid_request(*causes: type[AuditorError]) -> Iterator[None]:
    """Raise UsageError (422) instead of these causes: the URL is right, but its query or the body asks for too much.

    An unknown model in a request's body, for example, must not look like an unknown URL (404).
    """
    try:
        yield
    except causes as error:
        raise UsageError(str(error)) from error


def install_error_handlers(app: FastAPI) -> None:
    """Turn every error of every route into a response; an unexpected error is a 500 without details."""

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        return error_response(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if first["loc"] == ("body",) and given != "application/json":
            sent = f"got {given[:100]!r}" if given else "but there is none"
            return error_response(request, 422, f"expected the header Content-Type: application/json, {sent}")
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return error_response(request, 422, f"{place}: {first['msg']}")

    @app.exception_handler(AuditorError)
    def _(request: Request, error: AuditorError) -> Response:
        return error_response(request, status_of(error), one_line(str(error)))

    @app.exception_handler(SQLAlchemyError)
    def _(request: Request, _: SQLAlchemyError) -> Response:
        return error_response(request, 503, "the database does not respond; try again later", {"Retry-After": "10"})

    @app.exception_handler(Exception)
    def _(request: Request, _: Exception) -> Response:
        return error_response(request, 500, "an unexpected error occurred; the server's log has the details")


def error_response(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with problem+json under ``/api``, and with a page elsewhere."""
    title, detail = HTTPStatus(status).phrase, clean_line(detail)  # names of fields may hold any character
    if request.scope["path"].startswith("/api/"):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    return HTMLResponse(render("error.html", page=ErrorPage(title, detail), path=""), status, headers)
