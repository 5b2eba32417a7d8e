"""Middleware that records a span for each request that changes something, such as one that starts a scan."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditor import tracing
from auditor.web.security.guard import SAFE_METHODS


class RequestSpans:
    """ASGI middleware, inside those that refuse requests. A client that sends ``traceparent`` continues its own trace.

    Requests that only read are not recorded, because open pages repeat them every few seconds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        parent = Headers(scope=scope).get(tracing.CARRIER)
        named = {"http.request.method": scope["method"]}
        with tracing.span("request", kind="server", parent=parent, **named) as span:

            async def note_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set(**{"http.response.status_code": message["status"], "http.route": _route(scope)})
                await send(message)

            await self.app(scope, receive, note_status)


def _route(scope: Scope) -> str | None:
    """The path of a request with names in place of its parameters, ``/api/v1/scans/{number}``; None without a route.

    The route itself does not know the prefix under which it is included.
    """
    if "route" not in scope:
        return None
    route: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        route = re.sub(rf"(?<=/){re.escape(str(value))}(?=/|$)", f"{{{name}}}", route, count=1)
    return route
