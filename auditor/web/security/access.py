"""Authentication: bearer tokens with scopes, from the Authorization header for programs or a cookie for browsers."""

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from auditor.db.tokens import Bearer, check_token

SIGN_IN = "/sign-in"
LONGEST_ADDRESS = 4000
_ADDRESS = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""One slash, not two, then printable ASCII without a backslash: browsers read ``//x`` and ``/\\x`` as host names."""
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


def find_user(request: Request) -> Bearer | None:
    """Return the owner of the cookie's token, looked up once per request; None if nobody is signed in."""
    state = request.scope.setdefault("state", {})
    if "user" not in state:
        cookie = request.cookies.get(COOKIE)
        state["user"] = check_token(request.app.state.engine, cookie) if cookie else None
    user: Bearer | None = state["user"]
    return user


def local_address(text: str) -> str:
    """Return an address if it is a path of this server that a browser can return to, else ``/``."""
    is_local = len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None
    return text if is_local and not re.match(r"/sign-(in|out)\b", text) else "/"


def address_of(request: Request) -> str:
    """Return the path and query of a page, to come back to it; of a form, its path."""
    query = request.scope["query_string"].decode("latin-1") if request.method in ("GET", "HEAD") else ""
    path = quote(request.scope["path"].encode("utf-8", "replace"), safe="/:@!$&'()*+,;=~")
    return local_address(path + (f"?{query}" if query else ""))


def sign_in_address(address: str, scope: str | None = None) -> str:
    """Return the address of the sign-in page that leads back to ``address``; ``scope`` is what is needed there."""
    return f"{SIGN_IN}?{urlencode({'next': address} | ({'scope': scope} if scope else {}), safe='/')}"


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
