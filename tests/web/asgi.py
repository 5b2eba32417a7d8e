"""Requests to an application without a client in between: any bytes as headers, any address, streams that are left."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from auditor.config import settings
from auditor.db.session import open_database
from auditor.web.app import create_app

Headers = Iterable[tuple[str, bytes | str]]
FORM = [("content-type", "application/x-www-form-urlencoded")]


def app(**options: Any) -> FastAPI:
    """The application over the test's own database."""
    return create_app(open_database(settings().database_url), **options)


class Asked:
    """One request, and what has come back so far."""

    def __init__(
        self, app: ASGIApp, path: str, method: str = "GET", *, headers: Headers = (), client: str = "192.0.2.1",
        body: bytes = b"", scheme: str = "http", query: bytes = b"", host: str | bytes | None = "testserver",
    ) -> None:  # fmt: skip
        given = [*([("host", host)] if host is not None else []), *headers]
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": scheme, "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "",
            "headers": [(name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in given],
            "client": (client, 4711), "server": ("127.0.0.1", 8000), "state": {},
        }  # fmt: skip
        self.app, self.content = app, body
        self.status, self.headers, self.body = 0, dict[str, str](), b""
        self.left, self.sent = asyncio.Event(), False
        self.task: asyncio.Task[None] | None = None

    async def _receive(self) -> Message:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode("latin-1") for name, text in message["headers"]}
        else:
            self.body += message.get("body", b"")

    def begin(self) -> "Asked":
        """In the background, as a stream."""
        self.task = asyncio.create_task(self.app(self.scope, self._receive, self._send))  # type: ignore[arg-type]
        return self

    async def leave(self) -> None:
        """As a client that closes its connection."""
        assert self.task is not None
        self.left.set()
        await self.task

    def now(self) -> "Asked":
        """To the end; an error of the application is one of the test."""
        asyncio.run(self.app(self.scope, self._receive, self._send))  # type: ignore[arg-type]
        return self

    def events(self) -> list[tuple[str, Any]]:
        """The events of a stream so far: name and data."""
        found, name = [], ""
        for line in self.body.decode().splitlines():
            key, _, text = line.partition(": ")
            if key == "event":
                name = text
            elif key == "data":
                found.append((name, json.loads(text)))
        return found
