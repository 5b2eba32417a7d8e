"""Error responses: the status code of each cause, as RFC 9457 problem+json for programs and as a page for people."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

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
from auditor.text.validation import describe_error
from auditor.web.render import render
from auditor.web.security.access import address_of, find_user
from auditor.web.suggestions import Link, suggest_links

UNREADABLE_BODY = "There was an error parsing the body"
"""FastAPI's words for a body that it cannot decode."""
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
    """``title`` is the phrase of the status code; ``detail`` says what was wrong and what to do.

    ``links``: pages that the reader may have meant; ``searches``: whether a search for a model helps.
    """

    title: str
    detail: str
    links: tuple[Link, ...] = ()
    searches: bool = False


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
        detail = str(error.detail)
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"there is nothing at the address {request.scope['path'][:200]}"
        if error.status_code == 400 and detail == UNREADABLE_BODY:
            detail = "body: expected JSON in UTF-8"
        return _respond(request, error.status_code, detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if first["loc"] == ("body",) and given != "application/json":
            sent = f"got {given[:100]!r}" if given else "but there is none"
            return _respond(request, 422, f"expected the header Content-Type: application/json, {sent}")
        inside = () if first["type"] == "json_invalid" else first["loc"][1:]
        place = ".".join(str(part) for part in inside) or str(first["loc"][0])
        return _respond(request, 422, f"{place}: {describe_error(first)}")

    @app.exception_handler(AuditorError)
    def _(request: Request, error: AuditorError) -> Response:
        return _respond(request, status_of(error), one_line(str(error)))

    @app.exception_handler(SQLAlchemyError)
    def _(request: Request, _: SQLAlchemyError) -> Response:
        return error_response(request, 503, "the database does not respond; try again later", {"Retry-After": "10"})

    @app.exception_handler(Exception)
    def _(request: Request, _: Exception) -> Response:
        return error_response(request, 500, "an unexpected error occurred; the server's log has the details")


def error_response(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with problem+json under ``/api``, and with a page elsewhere, without asking the database."""
    title, detail = HTTPStatus(status).phrase, clean_line(detail)  # names of fields may hold any character
    if request.scope["path"].startswith("/api/"):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    return _page(ErrorPage(title, detail), status, headers)


def _respond(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Answer as :func:`error_response` does; a page names the user, and what is near a missing object."""
    if request.scope["path"].startswith("/api/") or status in (301, 302, 303):
        return error_response(request, status, detail, headers)
    try:
        user = find_user(request)
        may_read = request.app.state.open_reading or user is not None
        missing = status == 404 and may_read
        links = suggest_links(request.app.state.engine, request.scope["path"], detail) if missing else ()
    except SQLAlchemyError:
        return error_response(request, status, detail, headers)
    page = ErrorPage(HTTPStatus(status).phrase, clean_line(detail), links, searches=missing)
    return _page(page, status, headers, user=user, address=address_of(request) if request.method == "GET" else "/")


def _page(page: ErrorPage, status: int, headers: dict[str, str] | None, **shell: Any) -> Response:
    return HTMLResponse(
        render("error.html", page=page, path="", **({"user": None, "address": "/"} | shell)), status, headers
    )
