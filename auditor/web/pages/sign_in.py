"""The sign-in page: it stores a token in a cookie that scripts cannot read and other sites cannot send."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from auditor.db.tokens import check_token
from auditor.web.access import COOKIE
from auditor.web.api.common import Database
from auditor.web.pages.common import render_page

router = APIRouter()


@dataclass(frozen=True)
class SignInPage:
    """``error`` says why signing in failed; ``user`` is the signed-in token's name and scope."""

    error: str | None = None
    user: str | None = None


@router.get("/sign-in", response_class=HTMLResponse)
def show_sign_in(request: Request, engine: Database) -> HTMLResponse:
    owner = check_token(engine, request.cookies.get(COOKIE, ""))
    user = f"{owner.name} ({owner.scope})" if owner else None
    return render_page(request, "sign_in.html", SignInPage(user=user))


@router.post("/sign-in")
def sign_in(request: Request, engine: Database, token: Annotated[str, Form(max_length=200)]) -> Response:
    if check_token(engine, token.strip()) is None:
        error = "The token is unknown, revoked or expired."
        return render_page(request, "sign_in.html", SignInPage(error=error), 401)
    answer = RedirectResponse("/", 303)
    # Behind a TLS proxy that is not trusted, the URL's scheme is http; the browser's Origin has the right scheme.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    answer.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
