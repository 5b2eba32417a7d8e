"""The HTTP server: uvicorn on h11, with time limits for requests that never end and answers that nobody takes.

uvicorn has a limit for idle connections alone, hypercorn and h11 have none for a whole request either.
"""

import asyncio
import socket
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TimedProtocol(H11Protocol):
    """Closes a connection whose request's head or body is not there in time, or whose client takes no answer.

    Each limit is of the whole head, or the whole body: a byte now and then does not prolong it. Between two requests
    uvicorn's limit for idle connections counts.
    """

    HEAD_SECONDS = 15.0
    BODY_SECONDS = 30.0
    TAKE_SECONDS = 300.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._awaited: str | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # of a next request that was there already
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        self._take()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._take()

    def _look(self) -> None:
        """What is awaited from now on; the time begins anew where that is another thing than before."""
        awaited = {h11.IDLE: "head", h11.SEND_BODY: "body"}.get(self.conn.their_state)
        if awaited != self._awaited:
            self._await(awaited)

    def _await(self, what: str | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._awaited, self._limit = what, None
        if what is not None:
            seconds = self.HEAD_SECONDS if what == "head" else self.BODY_SECONDS
            self._limit = self.loop.call_later(seconds, self._give_up)

    def _take(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_TIMEOUT)
        self.transport.close()
        self.loop.call_later(5, self.transport.abort)


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until told to end. Of forwarded headers the application itself believes what it is told to."""
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        proxy_headers=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run([listening])
