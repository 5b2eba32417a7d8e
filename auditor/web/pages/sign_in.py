"""The sign-in page: it stores a token in a cookie that scripts cannot read and other sites cannot send."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from auditor.db.tokens import SCOPES, check_token
from auditor.web.api.common import Database
from auditor.web.pages.common import render_page
from auditor.web.security.access import COOKIE, LONGEST_ADDRESS, SIGN_IN, find_user, local_address

router = APIRouter()


@dataclass(frozen=True)
class SignInPage:
    """``next``: the page to return to; ``scope``: what it needs; ``enough``: whether the user's token has it."""

    next: str
    scope: str | None
    enough: bool
    error: str | None = None


@router.get(SIGN_IN, response_class=HTMLResponse)
def show_sign_in(
    request: Request,
    next: Annotated[str, Query(max_length=2 * LONGEST_ADDRESS)] = "/",
    scope: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    return render_page(request, "sign_in.html", _page(request, next, scope))


@router.post(SIGN_IN)
def sign_in(
    request: Request,
    engine: Database,
    token: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=2 * LONGEST_ADDRESS)] = "/",
    scope: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    user = check_token(engine, token.strip())
    if user is None:
        error = "The token is unknown, revoked or expired."
        return render_page(request, "sign_in.html", _page(request, next, scope, error), 401)
    if scope in SCOPES and not user.may(scope):
        error = f"The token {user.name} has the scope {user.scope}; this needs the scope {scope} or admin."
        return render_page(request, "sign_in.html", _page(request, next, scope, error), 403)
    answer = RedirectResponse(local_address(next), 303)
    # Behind a TLS proxy that is not trusted, the URL's scheme is http; the browser's Origin has the right scheme.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    answer.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _page(request: Request, address: str, scope: str, error: str | None = None) -> SignInPage:
    needed = scope if scope in SCOPES else None
    user = find_user(request)
    enough = user is not None and (needed is None or user.may(needed))
    return SignInPage(local_address(address), needed, enough, error)
