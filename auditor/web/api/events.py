"""Server-sent events of a scan or boost: one poll serves all its clients, and only changes are sent."""

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from auditor.db.retry import cause_of
from auditor.errors import AuditorError, first_line
from auditor.records.scans import ACTIVE_STATES
from auditor.web.cleanup import end_dead_jobs
from auditor.web.security.rate_limits import client_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""The time between two polls; four times the duration of a poll if that is longer."""
SEND_SECONDS = 30.0
"""A client that accepts no data for so long is disconnected."""
STREAMS_PER_CLIENT, STREAMS = 20, 500
Row = dict[str, Any]


class Topic:
    """One scan or boost, for all its clients. All audits of a scan are sent once, and later only changed ones.

    ``changes`` counts the changes so far; ``changed_at`` maps each audit to the number of its last change; ``messages``
    holds the encoded update for clients that have received a number of changes.
    """

    def __init__(self, name: str, load: Callable[[], Row], thread: ThreadPoolExecutor) -> None:
        self.name, self.load, self.thread = name, load, thread
        self.row: Row = {}
        self.changes, self.changed_at, self.messages = 0, dict[int, int](), dict[int, bytes]()
        self.changed, self.first_load = asyncio.Event(), asyncio.Lock()
        self.clients, self.failed = 0, False
        self.polling: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.failed or (bool(self.row) and self.row["state"] not in ACTIVE_STATES)

    async def load_once(self) -> None:
        """Load the row for the first time, once for all clients that wait for it. Raises what ``load`` raises."""
        async with self.first_load:
            if not self.row:
                await self._poll()

    async def poll_until_ended(self) -> None:
        """Poll until the job has ended; keep polling while the database is down."""
        took = 0.0
        while not self.ended:
            await asyncio.sleep(max(POLL_SECONDS, 4 * took))
            began = time.monotonic()
            try:
                await self._poll()
            except SQLAlchemyError as error:
                logger.warning("cannot poll %s %s now: %s", self.name, self.row.get("id", ""), cause_of(error))
            except Exception as error:
                if not isinstance(error, AuditorError):  # an AuditorError means that the job was deleted
                    logger.error("cannot poll a %s: %s: %s", self.name, type(error).__name__, first_line(error))
                self.failed = True
                self._wake_clients()
            took = time.monotonic() - began

    async def messages_for_client(self) -> AsyncIterator[bytes]:
        """Yield the present row, then each change, then the end."""
        received = 0
        while True:
            changed = self.changed
            if self.changes > received:
                message, received = self._encode_update(received), self.changes
                yield message
            elif self.ended:
                if not self.failed:
                    yield self._encode_end()
                return
            else:
                await changed.wait()

    async def _poll(self) -> None:
        row, audits = await asyncio.get_running_loop().run_in_executor(self.thread, self._compare)
        if audits is not None:
            self.changes += 1
            self.changed_at |= dict.fromkeys(audits, self.changes)
            self.row = row
            self.messages.clear()
            self._wake_clients()

    def _compare(self) -> tuple[Row, list[int] | None]:
        """Load the row, and list its changed audits; None if nothing but the duration has changed."""
        row, before = self.load(), self.row
        if _without_duration(row) == _without_duration(before):
            return row, None
        old = {audit["audit"]: audit for audit in before.get("audits", ())}
        return row, [audit["audit"] for audit in row.get("audits", ()) if old.get(audit["audit"]) != audit]

    def _wake_clients(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _encode_update(self, received: int) -> bytes:
        """Encode what has changed for clients that have received so many changes; encoded once for all of them."""
        if received not in self.messages:
            row = self.row
            if received and "audits" in row:
                changed = [audit for audit in row["audits"] if self.changed_at[audit["audit"]] > received]
                row = row | {"audits": changed}
            self.messages[received] = ServerSentEvent(json.dumps(row), event=self.name).encode()
        return self.messages[received]

    def _encode_end(self) -> bytes:
        end = {self.name: self.row.get(self.name, self.row.get("id")), "state": self.row["state"]}
        return ServerSentEvent(json.dumps(end), event="end").encode()


class Streams:
    """All event streams of a server. One thread polls for all of them, so that they do not load the database."""

    def __init__(self) -> None:
        self.open = Counter[str]()
        self.topics: dict[Hashable, Topic] = {}
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="poll")

    @contextlib.contextmanager
    def reserve(self, client: str) -> Iterator[None]:
        """Count a stream of this client. Raises HTTPException if the client or the server has too many."""
        if self.open[client] >= STREAMS_PER_CLIENT:
            detail = f"expected at most {STREAMS_PER_CLIENT} event streams per client; close one"
            raise HTTPException(429, detail, {"Retry-After": "10"})
        if self.open.total() >= STREAMS:
            detail = f"the server already has {STREAMS} event streams open; try again later"
            raise HTTPException(503, detail, {"Retry-After": "30"})
        self.open[client] += 1
        try:
            yield
        finally:
            self.open[client] -= 1
            self.open += Counter()  # drops clients without streams

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str, number: int, load: Callable[[], Row]) -> AsyncIterator[Topic]:
        """Give the topic of a scan or boost, and poll it while it has clients. Raises what ``load`` raises."""
        key = asyncio.get_running_loop(), name, number
        topic = self.topics.get(key)
        if topic is None or topic.ended:
            topic = self.topics[key] = Topic(name, load, self.thread)
        topic.clients += 1
        try:
            await topic.load_once()
            if topic.polling is None:
                topic.polling = asyncio.create_task(topic.poll_until_ended())
            yield topic
        finally:
            topic.clients -= 1
            if not topic.clients:
                if topic.polling is not None:
                    topic.polling.cancel()
                if self.topics.get(key) is topic:
                    del self.topics[key]


class TopicResponse(EventSourceResponse):
    """The event stream of one client. Until its first byte is sent, an error becomes an ordinary error response."""

    def __init__(self, streams: Streams, name: str, number: int, load: Callable[[], Row]) -> None:
        super().__init__(_nothing(), ping=15, send_timeout=SEND_SECONDS)
        self.streams, self.subject = streams, (name, number, load)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.streams.reserve(client_of(scope)):
            async with self.streams.subscribe(*self.subject) as topic:
                self.body_iterator = topic.messages_for_client()
                with contextlib.suppress(SendTimeoutError):
                    await super().__call__(scope, receive, send)


def stream_events(request: Request, name: str, number: int, load: Callable[[], Row]) -> EventSourceResponse:
    """Send what ``load`` returns as an event ``name`` after each change, and ``end`` when its state is final.

    Later events of a scan hold only the audits that have changed. What ``load`` raises becomes the response.
    """
    state = request.app.state

    def load_current() -> Row:
        end_dead_jobs(state.engine)
        return load()

    return TopicResponse(state.streams, name, number, load_current)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _without_duration(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in ("seconds", "seconds_left")}
