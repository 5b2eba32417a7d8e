"""Something that changes, followed as server-sent events: polled once for all who follow it, sent where it changes."""

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
from auditor.web.cleanup import tidy
from auditor.web.rate_limits import client_of

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks; four times as long as a look takes where that is more."""
SEND_SECONDS = 30.0
"""A client that takes nothing for so long is left."""
STREAMS_OF_ADDRESS, STREAMS = 20, 500
GOING = ("queued", "running", "cancelling")
Row = dict[str, Any]


class Topic:
    """One scan or boost, for all who follow it. A scan's audits are sent once, then those that have changed.

    ``changes`` is the number of changes so far; ``changed_at`` says of each audit at which of them it changed last.
    """

    def __init__(self, name: str, look: Callable[[], Row], thread: ThreadPoolExecutor) -> None:
        self.name, self.look, self.thread = name, look, thread
        self.row: Row = {}
        self.changes, self.changed_at, self.told = 0, dict[int, int](), dict[int, bytes]()
        self.changed, self.first = asyncio.Event(), asyncio.Lock()
        self.followers, self.lost = 0, False
        self.looking: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.lost or (bool(self.row) and self.row["state"] not in GOING)

    async def begin(self) -> None:
        """Look for the first time, once for all who wait for it. Raises what ``look`` raises."""
        async with self.first:
            if not self.row:
                await self._poll()

    async def keep_looking(self) -> None:
        """Until the end; a database that is away is waited for."""
        took = 0.0
        while not self.ended:
            await asyncio.sleep(max(LOOK_SECONDS, 4 * took))
            began = time.monotonic()
            try:
                await self._poll()
            except SQLAlchemyError as error:
                logger.warning("%s %s is not followed now: %s", self.name, self.row.get("id", ""), cause_of(error))
            except Exception as error:
                if not isinstance(error, AuditorError):  # else it is gone
                    logger.error("cannot follow a %s: %s: %s", self.name, type(error).__name__, first_line(error))
                self.lost = True
                self._wake()
            took = time.monotonic() - began

    async def follow(self) -> AsyncIterator[bytes]:
        """How it is, then each change, then its end."""
        seen = 0
        while True:
            changed = self.changed
            if self.changes > seen:
                text, seen = self._tell(seen), self.changes
                yield text
            elif self.ended:
                if not self.lost:
                    yield self._tell_end()
                return
            else:
                await changed.wait()

    async def _poll(self) -> None:
        row, audits = await asyncio.get_running_loop().run_in_executor(self.thread, self._compare)
        if audits is not None:
            self.changes += 1
            self.changed_at |= dict.fromkeys(audits, self.changes)
            self.row = row
            self.told.clear()
            self._wake()

    def _compare(self) -> tuple[Row, list[int] | None]:
        """How it is now, and which audits have changed; None where nothing has but the time."""
        row, before = self.look(), self.row
        if _without_time(row) == _without_time(before):
            return row, None
        old = {audit["audit"]: audit for audit in before.get("audits", ())}
        return row, [audit["audit"] for audit in row.get("audits", ()) if old.get(audit["audit"]) != audit]

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _tell(self, seen: int) -> bytes:
        """For who has seen so many changes; written once for all of them."""
        if seen not in self.told:
            row = self.row
            if seen and "audits" in row:
                row = row | {"audits": [one for one in row["audits"] if self.changed_at[one["audit"]] > seen]}
            self.told[seen] = ServerSentEvent(json.dumps(row), event=self.name).encode()
        return self.told[seen]

    def _tell_end(self) -> bytes:
        end = {self.name: self.row.get(self.name, self.row.get("id")), "state": self.row["state"]}
        return ServerSentEvent(json.dumps(end), event="end").encode()


class Streams:
    """All streams of a server. One thread looks for all of them, so they leave the database and the others alone."""

    def __init__(self) -> None:
        self.open = Counter[str]()
        self.topics: dict[Hashable, Topic] = {}
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="follow")

    @contextlib.contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """A stream of this client. Raises HTTPException where there are too many."""
        if self.open[client] >= STREAMS_OF_ADDRESS:
            raise HTTPException(429, f"expected at most {STREAMS_OF_ADDRESS} streams at once", {"Retry-After": "10"})
        if self.open.total() >= STREAMS:
            raise HTTPException(503, f"the server has its {STREAMS} streams at once; try later", {"Retry-After": "30"})
        self.open[client] += 1
        try:
            yield
        finally:
            self.open[client] -= 1
            self.open += Counter()  # forgets clients without streams

    @contextlib.asynccontextmanager
    async def topic(self, name: str, number: int, look: Callable[[], Row]) -> AsyncIterator[Topic]:
        """The topic of a scan or boost, which is looked at while somebody follows it. Raises what ``look`` raises."""
        key = asyncio.get_running_loop(), name, number
        topic = self.topics.get(key)
        if topic is None or topic.ended:
            topic = self.topics[key] = Topic(name, look, self.thread)
        topic.followers += 1
        try:
            await topic.begin()
            if topic.looking is None:
                topic.looking = asyncio.create_task(topic.keep_looking())
            yield topic
        finally:
            topic.followers -= 1
            if not topic.followers:
                if topic.looking is not None:
                    topic.looking.cancel()
                if self.topics.get(key) is topic:
                    del self.topics[key]


class Followed(EventSourceResponse):
    """The stream of one client; raises within the application, which answers, until the stream has begun."""

    def __init__(self, streams: Streams, name: str, number: int, look: Callable[[], Row]) -> None:
        super().__init__(_nothing(), ping=15, send_timeout=SEND_SECONDS)
        self.streams, self.subject = streams, (name, number, look)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.streams.slot(client_of(scope)):
            async with self.streams.topic(*self.subject) as topic:
                self.body_iterator = topic.follow()
                with contextlib.suppress(SendTimeoutError):
                    await super().__call__(scope, receive, send)


def follow(request: Request, name: str, number: int, load: Callable[[], Row]) -> EventSourceResponse:
    """What ``load`` gives, as events called ``name``, each time that it has changed; ``end`` when its state is final.

    Of a scan later events hold the audits that have changed alone. What ``load`` raises is the answer.
    """
    state = request.app.state

    def look() -> Row:
        tidy(state.engine)
        return load()

    return Followed(state.streams, name, number, look)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _without_time(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "seconds"}
