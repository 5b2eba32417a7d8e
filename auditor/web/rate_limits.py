"""What one client may ask: so many requests a minute, bodies of so many bytes; and headers that every answer has."""

import ipaddress

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditor.web.errors import answer

BODY = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class Limits:
    """ASGI middleware. A client is its address: tokens are looked at later, and guessing one counts, too.

    The window is kept in this process: several servers behind a proxy each have their own.
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
                if not static:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if not static and not self.limiter.hit(self.rate, client):
            refused = answer(request, 429, "too many requests; wait a little", {"Retry-After": "10"})
            await refused(scope, receive, with_headers)
            return
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 9 or int(declared) > BODY:
            refused = answer(request, 413, f"expected a body of at most {BODY} bytes")
            await refused(scope, receive, with_headers)
            return
        await self.app(scope, _counted(receive), with_headers)


def client_of(scope: Scope) -> str:
    """Whose requests are counted together: those of an address, or of an IPv6 network of 64 bits."""
    text = str((scope.get("client") or ("unknown",))[0])
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text[:100]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


def _counted(receive: Receive) -> Receive:
    """A body without a length is cut off where it becomes too long."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > BODY else message

    return limited
