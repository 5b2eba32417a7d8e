"""What went wrong, said as RFC 9457 has it: problem+json for programs, a page for people."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from auditor.errors import AuditorError, UsageError, one_line
from auditor.web.render import render


class PageNotFoundError(UsageError):
    """There is no such thing: 404."""


def install(app: FastAPI) -> None:
    """Every error of every route ends here; what nobody foresaw is a 500 that tells nothing of the inside."""

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return answer(request, 422, f"{place}: {first['msg']}")

    @app.exception_handler(AuditorError)
    def _(request: Request, error: AuditorError) -> Response:
        return answer(request, 404 if isinstance(error, PageNotFoundError) else 422, one_line(str(error)))

    @app.exception_handler(SQLAlchemyError)
    def _(request: Request, _: SQLAlchemyError) -> Response:
        return answer(request, 503, "the database does not answer; try again later", {"Retry-After": "10"})

    @app.exception_handler(Exception)
    def _(request: Request, _: Exception) -> Response:
        return answer(request, 500, "something went wrong; the server's log says what")


def answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """The error as this client wants it: JSON under ``/api``, else a page."""
    title = HTTPStatus(status).phrase
    if request.scope["path"].startswith("/api/"):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    return HTMLResponse(render("problem.html", status=status, title=title, detail=detail, path=""), status, headers)
