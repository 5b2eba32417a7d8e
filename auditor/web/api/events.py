"""Something that changes, followed as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from auditor.web.tidying import tidy

LOOK_SECONDS = 1.0
GOING = ("queued", "running", "cancelling")
Row = dict[str, Any]


async def follow(request: Request, name: str, load: Callable[[], Row]) -> EventSourceResponse:
    """What ``load`` gives, as events called ``name``, each time that it has changed; ``end`` when its state is final.

    Raises what ``load`` raises.
    """

    def look() -> Row:
        tidy(request.app.state.engine)
        return load()

    await run_in_threadpool(look)
    return EventSourceResponse(_changes(request, name, look), ping=15)


async def _changes(request: Request, name: str, load: Callable[[], Row]) -> AsyncIterator[ServerSentEvent]:
    told = None
    while not await request.is_disconnected():
        now = await run_in_threadpool(load)
        state = {key: value for key, value in now.items() if key != "seconds"}
        if state != told:
            told = state
            yield ServerSentEvent(json.dumps(now), event=name)
        if now["state"] not in GOING:
            yield ServerSentEvent(json.dumps({name: now.get(name, now.get("id")), "state": now["state"]}), event="end")
            return
        await asyncio.sleep(LOOK_SECONDS)
