"""Signing in: a token goes into a cookie that scripts cannot read and other sites cannot send."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from auditor.db.tokens import check_token
from auditor.web.access import COOKIE
from auditor.web.api.common import Database
from auditor.web.pages.common import page

router = APIRouter()


@dataclass(frozen=True)
class SignIn:
    """``problem``: why the last try failed; ``as_whom``: who is signed in."""

    problem: str | None
    as_whom: str | None


@router.get("/sign-in", response_class=HTMLResponse)
def ask(request: Request, engine: Database) -> HTMLResponse:
    found = check_token(engine, request.cookies.get(COOKIE, ""))
    return page(request, "sign_in.html", SignIn(None, f"{found.name} ({found.scope})" if found else None))


@router.post("/sign-in")
def sign_in(request: Request, engine: Database, token: Annotated[str, Form(max_length=200)]) -> Response:
    if check_token(engine, token.strip()) is None:
        return page(request, "sign_in.html", SignIn("the token is unknown, revoked or expired", None), 401)
    answer = RedirectResponse("/", 303)
    # Behind a TLS proxy that is not named as trusted the browser, which says whose page sent the form, knows better.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    answer.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
