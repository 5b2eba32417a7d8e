"""Middleware that keeps the responses of pages and the API until the database changes, and answers 304.

Many readers ask for the same pages: rendering one takes tens of milliseconds, sending a kept one takes less than one.
A response is kept under all that can change it: method, host, path, query, cookies, token and accepted types, in one
version of the database. The version is read after a request has arrived, so a client always sees what was written
before, by whichever process. What else a page shows, such as ``3 minutes ago``, may be ``KEPT_SECONDS`` old.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditor.db.version import DataVersion

KEPT_SECONDS = 2.0
KEPT_BYTES = 64 * 2**20
"""Of all kept responses together; those used last stay."""
ENTRY_BYTES = 2048
"""What a kept response takes beside its body."""
LARGEST_BYTES = 4 * 2**20
NOT_KEPT = re.compile(r"/static/.*|/api/v1/health|.*/(events|weights)")
"""Paths of what is never kept: those that have an ETag already, the state of the server, streams, large files."""
RENDERED_AT_ONCE = 4
"""Python runs one thread at a time: with more, those that send kept responses wait for their turn."""
SLOW = re.compile(r"/scans/[^/]+/report")
"""Paths of what takes seconds to render: one at a time, with a turn of its own, so that pages have all others."""
TYPES = ("text/html", "application/json")
HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization, Accept"}
_Key = tuple[str, bytes]


@dataclass(frozen=True)
class _Response:
    """A complete response with status 200."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    etag: str
    made_at: float

    @property
    def size(self) -> int:
        return len(self.body) + ENTRY_BYTES


class ResponseCache:
    """ASGI middleware, inside those that check requests and limit their rate.

    Of several requests for the same response, one renders it and the others wait.
    """

    def __init__(self, app: ASGIApp, version: DataVersion) -> None:
        self.app, self.versions = app, _VersionReader(version)
        self.version: str | None = None
        self.kept = OrderedDict[_Key, _Response]()
        self.size = 0
        self.renderings: dict[_Key, asyncio.Future[_Response | None]] = {}
        self.turns, self.slow_turn = asyncio.Semaphore(RENDERED_AT_ONCE), asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or NOT_KEPT.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        response = await self._find(scope, headers, receive, send)
        if response is not None:
            await _answer(response, headers.get("if-none-match"), send)

    async def _find(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> _Response | None:
        """Return the kept or a new response; None if the application has sent one that is not kept."""
        version = await self.versions.read()
        if version is None:
            return await _render(self.app, scope, receive, send)
        self._begin(version)
        key = _key_of(version, scope, headers)
        kept = self.kept.get(key)
        if kept is not None and time.monotonic() - kept.made_at < KEPT_SECONDS:
            self.kept.move_to_end(key)
            return kept
        rendering = self.renderings.get(key)
        if rendering is not None and rendering.get_loop() is asyncio.get_running_loop():
            found = await asyncio.shield(rendering)
            if found is not None:
                return found
        return await self._render_once(key, scope, receive, send)

    async def _render_once(self, key: _Key, scope: Scope, receive: Receive, send: Send) -> _Response | None:
        future = asyncio.get_running_loop().create_future()
        self.renderings.setdefault(key, future)
        turn = contextlib.AsyncExitStack()

        async def settle(response: _Response | None) -> None:
            await turn.aclose()
            if not future.done():
                future.set_result(response)
            if self.renderings.get(key) is future:
                del self.renderings[key]

        async def send_unkept(message: Message) -> None:
            await settle(None)  # what is long may take long to send
            await send(message)

        response = None
        try:
            await turn.enter_async_context(self.slow_turn if SLOW.fullmatch(scope["path"]) else self.turns)
            response = await _render(self.app, scope, receive, send_unkept)
            if response is not None:
                self._keep(key, response)
        finally:
            await settle(response)
        return response

    def _begin(self, version: str) -> None:
        """Forget what was kept of another version."""
        if version != self.version:
            self.version, self.size = version, 0
            self.kept.clear()

    def _keep(self, key: _Key, response: _Response) -> None:
        if key[0] != self.version:
            return
        self._drop(key)
        self.kept[key] = response
        self.size += response.size
        expired = time.monotonic() - KEPT_SECONDS
        while self.kept:  # the first one is that which was used least recently
            oldest = next(iter(self.kept))
            if self.size <= KEPT_BYTES and self.kept[oldest].made_at >= expired:
                break
            self._drop(oldest)

    def _drop(self, key: _Key) -> None:
        response = self.kept.pop(key, None)
        self.size -= response.size if response else 0


class _VersionReader:
    """Reads the version for many requests at once, but never with a reading that began before a request arrived."""

    def __init__(self, version: DataVersion) -> None:
        self.version = version
        self.running: asyncio.Task[str | None] | None = None
        self.next: asyncio.Task[str | None] | None = None

    async def read(self) -> str | None:
        if self.version.is_quick:
            return self.version.read()
        if self.next is not None and self.next.get_loop() is not asyncio.get_running_loop():
            self.running = self.next = None  # tests run several loops
        if self.next is None:
            self.next = asyncio.create_task(self._read_after(self.running))
        return await asyncio.shield(self.next)

    async def _read_after(self, before: "asyncio.Task[str | None] | None") -> str | None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self.running, self.next = self.next, None
        return await run_in_threadpool(self.version.read)


async def _render(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> _Response | None:
    """Let the application respond. What is not kept is sent at once: errors, streams, files, and very large bodies."""
    start: Message | None = None
    response: _Response | None = None

    async def collect(message: Message) -> None:
        nonlocal start, response
        if message["type"] == "http.response.start" and _may_keep(message):
            start = message
            return
        if start is None:
            await send(message)
            return
        body = message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body") and len(body) <= LARGEST_BYTES:
            response = _Response(start["headers"], body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', time.monotonic())
        else:
            await send(start)
            await send(message)
        start = None

    await app(scope, receive, collect)
    return response


def _may_keep(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    plain = not {"etag", "set-cookie", "content-encoding", "cache-control"} & set(headers)
    return start["status"] == 200 and plain and headers.get("content-type", "").startswith(TYPES)


def _key_of(version: str, scope: Scope, headers: Headers) -> _Key:
    names = ("host", "cookie", "authorization", "accept")
    given = tuple(tuple(headers.getlist(name)) for name in names)
    request = (scope["method"], scope["scheme"], scope["path"], scope["query_string"], *given)
    return version, hashlib.sha256(repr(request).encode()).digest()  # cookies and queries may be long


async def _answer(response: _Response, if_none_match: str | None, send: Send) -> None:
    unchanged = if_none_match is not None and _matches(response.etag, if_none_match)
    start: Message = {"type": "http.response.start", "status": 304 if unchanged else 200}
    start["headers"] = [] if unchanged else list(response.headers)
    headers = MutableHeaders(scope=start)
    headers["ETag"] = response.etag
    for name, value in HEADERS.items():
        headers[name] = value
    await send(start)
    await send({"type": "http.response.body", "body": b"" if unchanged else response.body})


def _matches(etag: str, if_none_match: str) -> bool:
    """Compare weakly, as RFC 9110 requires of If-None-Match."""
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return etag in given or given == ["*"]
