"""Middleware that refuses requests for other hosts, malformed headers, and forms of other sites."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from auditor.web.errors import error_response
from auditor.web.security.hosts import AllowedHosts, Authority, read_authority

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PORTS = {"http": 80, "https": 443}


class _RefusalError(Exception):
    """The status code and the detail of a refusal."""

    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


class RequestGuard:
    """ASGI middleware, so that it covers every route.

    Args:
        hosts: the host names that this server answers to; None for any.
        command: the command that runs this server, for the advice in refusals.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts | None = None, command: str = "auditor serve") -> None:
        self.app, self.hosts, self.command = app, hosts, command

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except _RefusalError as refusal:
                await error_response(Request(scope), refusal.status, refusal.detail)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if not scope["path"].startswith("/") or "\0" in scope["path"] or re.search(rb"\0|%00", scope["query_string"]):
            raise _RefusalError(400, "expected a path that begins with /, without NUL in the path or the query")
        headers = Headers(scope=scope)
        host = self._check_host(headers)
        if scope["method"] not in SAFE_METHODS and not scope["path"].startswith("/api/"):
            _check_origin(headers, host, scope["scheme"])

    def _check_host(self, headers: Headers) -> Authority | None:
        """Check the header Host; HTTP/1.0 clients, which are no browsers, may leave it out."""
        given = headers.getlist("host")
        if not given:
            return None
        host = read_authority(given[0]) if len(given) == 1 else None
        if host is None:
            raise _RefusalError(400, "malformed header Host: expected NAME or NAME:PORT, once")
        if self.hosts is not None and host.host not in self.hosts:
            command = f"`{self.command} --allowed-host {host.host}`"
            raise _RefusalError(
                400, f"this server does not answer to the host name {host.host}; to allow it, run {command}"
            )
        return host


def _check_origin(headers: Headers, host: Authority | None, scheme: str) -> None:
    """Refuse forms of other sites: with each form, a browser sends the origin of its page.

    The API ignores cookies in requests that write, so forms that are sent to it have no token.
    """
    given = headers.getlist("origin")
    try:
        origin = urlsplit(given[0]) if len(given) == 1 else None
    except ValueError as error:
        raise _RefusalError(400, "malformed header Origin: expected SCHEME://HOST or SCHEME://HOST:PORT") from error
    if origin is not None and origin.scheme in PORTS:
        page = read_authority(origin.netloc)
        if page is None:
            raise _RefusalError(400, "malformed header Origin: expected SCHEME://HOST or SCHEME://HOST:PORT")
        default_port = PORTS[origin.scheme]
        servers = {(one.host, one.port or default_port) for one in (page, host) if one is not None}
        if host is not None and len(servers) == 1 and (scheme != "https" or origin.scheme == "https"):
            return
    raise _RefusalError(
        403,
        "only pages of this server may send this form; a proxy must forward the header Host unchanged",
    )
