"""Middleware with limits of requests per minute and of the size of bodies, and the headers of every response."""

import ipaddress

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditor.web.errors import error_response

BODY_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class RequestLimits:
    """ASGI middleware. A client is an address, so that requests with guessed tokens count, too.

    The counts live in this process: several servers behind a proxy each have their own.
    """

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self.app, self.rate = app, RateLimitItemPerMinute(per_minute)
        self.limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = client_of(scope)
        static = scope["path"].startswith("/static/")
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        if not static and not self.limiter.hit(self.rate, client):
            refusal = error_response(
                request, 429, "too many requests; wait ten seconds and try again", {"Retry-After": "10"}
            )
            await refusal(scope, receive, with_headers)
            return
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 9 or int(declared) > BODY_BYTES:
            refusal = error_response(request, 413, f"expected a body of at most {BODY_BYTES} bytes")
            await refusal(scope, receive, with_headers)
            return
        await self.app(scope, _limit_body(receive), with_headers)


def client_of(scope: Scope) -> str:
    """Return the key that requests are counted under: an IPv4 address, or an IPv6 network of 64 bits."""
    text = str((scope.get("client") or ("unknown",))[0])
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text[:100]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


def _limit_body(receive: Receive) -> Receive:
    """Disconnect a body without a declared length once it exceeds the limit."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if received > BODY_BYTES else message

    return limited
