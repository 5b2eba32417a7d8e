"""What is refused at the door: requests for other hosts, malformed headers, and forms of other sites."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from auditor.web.errors import answer
from auditor.web.hosts import AllowedHosts, Authority, read_authority

SAFE = ("GET", "HEAD", "OPTIONS")
PORTS = {"http": 80, "https": 443}


class _RefusedError(Exception):
    """A status and why."""

    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


class Guard:
    """ASGI middleware, so that no route can be made without it.

    Args:
        hosts: the names that this server is known under; None for any.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts | None = None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except _RefusedError as refused:
                await answer(Request(scope), refused.status, refused.detail)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if not scope["path"].startswith("/") or "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise _RefusedError(400, "expected a path that begins with /, and no NUL in it or in the query")
        headers = Headers(scope=scope)
        host = self._host(headers)
        if scope["method"] not in SAFE and not scope["path"].startswith("/api/"):
            _check_origin(headers, host, scope["scheme"])

    def _host(self, headers: Headers) -> Authority | None:
        """Who was asked; HTTP/1.0, which browsers do not speak, need not say."""
        given = headers.getlist("host")
        if not given:
            return None
        host = read_authority(given[0]) if len(given) == 1 else None
        if host is None:
            raise _RefusedError(400, "the header Host is malformed: expected NAME or NAME:PORT, once")
        if self.hosts is not None and host.host not in self.hosts:
            hint = f"`auditor serve --allowed-host {host.host}`"
            raise _RefusedError(400, f"this server is not known as {host.host}; if it should be, start it with {hint}")
        return host


def _check_origin(headers: Headers, host: Authority | None, scheme: str) -> None:
    """The page that sends a form must be our own: a browser says with each form whose page that is.

    The API takes no cookies where it writes, so what browsers can be led to send there lets nobody in.
    """
    given = headers.getlist("origin")
    try:
        origin = urlsplit(given[0]) if len(given) == 1 else None
    except ValueError as error:
        raise _RefusedError(400, "the header Origin is malformed") from error
    if origin is not None and origin.scheme in PORTS:
        page = read_authority(origin.netloc)
        if page is None:
            raise _RefusedError(400, "the header Origin is malformed")
        ports = {(one.host, one.port or PORTS[origin.scheme]) for one in (page, host) if one is not None}
        if host is not None and len(ports) == 1 and (scheme != "https" or origin.scheme == "https"):
            return
    raise _RefusedError(
        403, "this form is for pages of this server alone; a proxy in front has to pass on the header Host as it got it"
    )
