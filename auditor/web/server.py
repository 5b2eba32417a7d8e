"""The HTTP server of both ``auditor serve`` and ``auditor metrics``: uvicorn on h11, with time limits.

The limits are for requests that never end and for responses that nobody reads.

uvicorn limits idle connections only; hypercorn and h11 have no limit for an entire request either.
"""

import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from auditor.errors import EnvironmentUnusableError, UsageError

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TimedProtocol(H11Protocol):
    """Closes a connection if a request's head or body is not complete in time, or if its client reads no response.

    Each limit covers the entire head or body, so single bytes do not extend it. Between two requests, uvicorn's limit
    for idle connections applies.
    """

    HEAD_SECONDS = 15.0
    BODY_SECONDS = 30.0
    READ_SECONDS = 300.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._awaited_part: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # the next request has arrived already
            self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._start_timer(None)
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall_timer()

    def _update_timer(self) -> None:
        """Restart the timer if the connection awaits another part of a request than before."""
        part = {h11.IDLE: "head", h11.SEND_BODY: "body"}.get(self.conn.their_state)
        if part != self._awaited_part:
            self._start_timer(part)

    def _start_timer(self, part: str | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._awaited_part, self._timer = part, None
        if part is not None:
            seconds = self.HEAD_SECONDS if part == "head" else self.BODY_SECONDS
            self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _time_out(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_TIMEOUT)
        self.transport.close()
        self.loop.call_later(5, self.transport.abort)


def check_address(host: str) -> str:
    """Return the IP address to listen on. Raises UsageError if ``--host`` is neither one nor ``localhost``."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(f"--host: expected an IP address such as 127.0.0.1 or 0.0.0.0, got {host!r}") from error
    return host


@contextlib.contextmanager
def listen(address: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Listen on an IP address; yields the socket and its URL, without a final slash.

    Raises:
        EnvironmentUnusableError: the port is in use, for example.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Without IPPROTO_TCP, asyncio leaves Nagle's algorithm on, and small responses wait 40 ms for an acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address, port))
            listening.listen(2048)  # requests that arrive before the server runs wait in the backlog
        except OSError as error:
            raise EnvironmentUnusableError(
                f"cannot listen on {address}:{port}: {error.strerror}; try --port"
            ) from error
        name = f"[{address}]" if ":" in address else address
        yield listening, f"http://{name}:{listening.getsockname()[1]}"


def run(app: ASGIApp, listening: socket.socket, *, program_logs: bool = False) -> None:
    """Serve until a signal stops the process. The application, not uvicorn, evaluates X-Forwarded headers.

    ``program_logs``: the program has set up its log, so uvicorn's lines go there.
    """
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        proxy_headers=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
        log_config=None if program_logs else LOGGING_CONFIG,
    )
    sys.setswitchinterval(0.001)  # the thread that sends responses waits less for those that render pages
    uvicorn.Server(config).run([listening])
