"""Who may: bearer tokens with scopes, in the header for programs, in a cookie for people's browsers."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from auditor.db.tokens import Bearer, check_token

COOKIE = "auditor_token"
_HEADER = HTTPBearer(auto_error=False, description="made by `auditor tokens add`")


def bearer_of(
    request: Request, header: Annotated[HTTPAuthorizationCredentials | None, Depends(_HEADER)]
) -> Bearer | None:
    """Whose token came with the request; a token that is no good is refused even where none is needed.

    What writes over the API takes no cookie: it is not for browsers, which may be led there.
    """
    writes = request.method not in ("GET", "HEAD")
    cookie = None if writes and request.scope["path"].startswith("/api/") else request.cookies.get(COOKIE)
    text = header.credentials if header else cookie
    if text is None:
        return None
    found = check_token(request.app.state.engine, text)
    if found is None and header:
        raise _unauthorized("the token is unknown, revoked or expired")
    return found


def requires(scope: str) -> Callable[..., Bearer]:
    """A dependency: a good token that holds this scope."""

    def check(bearer: Annotated[Bearer | None, Depends(bearer_of)]) -> Bearer:
        if bearer is None:
            raise _unauthorized(f"this needs a token with the scope {scope}: `auditor tokens add NAME --scope {scope}`")
        if not bearer.may(scope):
            raise HTTPException(403, f"this needs the scope {scope}; the token {bearer.name} has {bearer.scope}")
        return bearer

    return check


def may_read(request: Request, bearer: Annotated[Bearer | None, Depends(bearer_of)]) -> None:
    """Reading: anybody's where the server is open, else whose token holds ``read``."""
    if not request.app.state.open_reading:
        requires("read")(bearer)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="auditor"'})
