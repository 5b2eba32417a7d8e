"""The page of tokens, for admins: list, add and revoke them."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine
from starlette.exceptions import HTTPException

from auditor.db.tokens import SCOPES, Bearer, add_token, list_tokens, revoke_token
from auditor.errors import ConflictError, NotFoundError
from auditor.records.tokens import TokenRow
from auditor.web.api.common import Database, Number
from auditor.web.pages.common import ConfirmPage, render_page
from auditor.web.pages.forms import Fields, FormState, InvalidFormError, parse_form, require_sign_in
from auditor.web.security.access import address_of, find_user, sign_in_address
from auditor.web.shapes.requests import TokenBody

router = APIRouter()
SCOPE_MEANINGS = {
    "read": "read results, download checkpoints",
    "scan": "read, start and cancel scans",
    "boost": "read, start, cancel and resume boosts",
    "admin": "everything, also schedules and tokens",
}
assert set(SCOPE_MEANINGS) == set(SCOPES)


def check_admin(request: Request) -> Bearer:
    """Let only admins read; other people are led to the sign-in page, or refused."""
    user = find_user(request)
    if user is None:
        raise HTTPException(303, "sign in", {"Location": sign_in_address(address_of(request), "admin")})
    if not user.may("admin"):
        raise HTTPException(
            403, f"this page needs a token with the scope admin; {user.name} has the scope {user.scope}"
        )
    return user


Reader = Annotated[Bearer, Depends(check_admin)]
Writer = Annotated[Bearer, Depends(require_sign_in("admin", "/tokens"))]


@dataclass(frozen=True)
class TokensPage:
    """All tokens without their secrets; ``secret`` is the token that was just made: it is shown in no other answer."""

    tokens: tuple[TokenRow, ...]
    form: FormState
    scopes: tuple[tuple[str, str], ...] = tuple((name, f"{name}: {words}") for name, words in SCOPE_MEANINGS.items())
    made: str | None = None
    secret: str | None = field(default=None, repr=False)


@router.get("/tokens", response_class=HTMLResponse)
def show_tokens(request: Request, engine: Database, _: Reader) -> HTMLResponse:
    return _render(request, engine, FormState.from_query(request))


@router.post("/tokens")
def add(request: Request, engine: Database, fields: Fields, _: Writer) -> HTMLResponse:
    """Answer with the token itself, without a redirect, so that it is in no address and no cookie."""
    try:
        body = parse_form(TokenBody, fields)
        secret = add_token(engine, body.name, body.scope, body.days)
    except InvalidFormError as error:
        return _render(request, engine, FormState.from_error(fields, error), status=422)
    except ConflictError:
        used = {"name": f"the name {fields['name']!r} is taken, perhaps by a revoked token; choose another name"}
        return _render(request, engine, FormState(fields, used), status=409)
    return _render(request, engine, FormState(), made=body.name, secret=secret)


@router.get("/tokens/{number}/revoke", response_class=HTMLResponse)
def confirm_revocation(request: Request, engine: Database, user: Reader, number: Number) -> HTMLResponse:
    row = _find(engine, number)
    own = " It is the token that you are signed in with: you are signed out at once." if row.id == user.id else ""
    context = ConfirmPage(
        title=f"Revoke the token {row.name}?",
        text=f"Requests with it are refused from then on. A revoked token cannot be used again.{own}",
        action=f"/tokens/{number}/revoke",
        button="Revoke the token",
        back="/tokens",
        scope="admin",
    )
    return render_page(request, "confirm.html", context)


@router.post("/tokens/{number}/revoke")
def revoke(engine: Database, number: Number, _: Writer) -> Response:
    revoke_token(engine, _find(engine, number).name)
    return RedirectResponse("/tokens", 303)


def _find(engine: Engine, number: int) -> TokenRow:
    row = next((one for one in list_tokens(engine) if one.id == number and one.state != "revoked"), None)
    if row is None:
        raise NotFoundError(f"there is no valid token {number}")
    return row


def _render(
    request: Request,
    engine: Engine,
    form: FormState,
    *,
    status: int = 200,
    made: str | None = None,
    secret: str | None = None,
) -> HTMLResponse:
    context = TokensPage(tuple(list_tokens(engine)), form, made=made, secret=secret)
    return render_page(request, "tokens.html", context, status)
