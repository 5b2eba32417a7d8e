"""Authentication: bearer tokens with scopes, from the Authorization header for programs or a cookie for browsers."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from auditor.db.tokens import Bearer, check_token

COOKIE = "auditor_token"
_HEADER = HTTPBearer(auto_error=False, description="A token that `auditor tokens add NAME --scope SCOPE` has printed.")


def authenticate(
    request: Request, header: Annotated[HTTPAuthorizationCredentials | None, Depends(_HEADER)]
) -> Bearer | None:
    """Return the owner of the request's token, or None without a token; an invalid header is refused on every route.

    Requests that write over the API must send the header: other sites can make a browser send cookies.
    """
    writes = request.method not in ("GET", "HEAD")
    cookie = None if writes and request.scope["path"].startswith("/api/") else request.cookies.get(COOKIE)
    text = header.credentials if header else cookie
    if text is None:
        return None
    owner = check_token(request.app.state.engine, text)
    if owner is None and header:
        raise _unauthorized("invalid token: it is unknown, revoked or expired")
    return owner


def require_scope(scope: str) -> Callable[..., Bearer]:
    """Make a dependency that refuses requests without a valid token of this scope."""

    def check_scope(owner: Annotated[Bearer | None, Depends(authenticate)]) -> Bearer:
        if owner is None:
            command = f"auditor tokens add NAME --scope {scope}"
            raise _unauthorized(
                f"missing token: this request needs one with the scope {scope}; create it with `{command}`"
            )
        if not owner.may(scope):
            detail = f"this request needs the scope {scope}; the token {owner.name} has the scope {owner.scope}"
            raise HTTPException(403, detail)
        return owner

    return check_scope


def check_read_access(request: Request, owner: Annotated[Bearer | None, Depends(authenticate)]) -> None:
    """Refuse reading without a token that allows it, unless the server is open."""
    if not request.app.state.open_reading:
        require_scope("read")(owner)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="auditor"'})
