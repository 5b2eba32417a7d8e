"""Event streams: one look for all who follow, changes alone, and so many streams of an address."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from auditor.config import settings
from auditor.db.scans import cancel_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.trainings import Trainings
from auditor.errors import NotFoundError
from auditor.results.serialize import serialize
from auditor.web.api import events as following
from auditor.web.api import scans
from auditor.web.app import create_app
from tests.factories.records import REQUEST, entry, record
from tests.web.asgi import Asked

SCAN = "/api/v1/scans/1/events"


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)


@pytest.fixture
def app(engine: Engine) -> FastAPI:
    return create_app(engine, per_minute=1_000_000)


def make_scan(engine: Engine, audits: int) -> None:
    Store(engine).create_scan("demo", REQUEST, [entry(f"m{number}") for number in range(audits)], queue="cpu")


def finish(engine: Engine, audit: int, name: str) -> None:
    store = Store(engine)
    store.finish(audit, store.claim(audit), record(name, identity=name))


async def until(true: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def leave(streams: list[Asked]) -> None:
    await asyncio.gather(*(stream.leave() for stream in streams))


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("audits", [5, 2400])
def test_a_hundred_streams_look_no_more_often_than_one_and_others_are_answered(
    audits: int, engine: Engine, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scan(engine, audits)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    looks: list[float] = []
    load = scans.load_scan
    monkeypatch.setattr(scans, "load_scan", lambda *given: looks.append(time.monotonic()) or load(*given))

    async def during(streams: int) -> tuple[float, float]:
        """Looks and statements for each look's time, while so many follow; and other requests are answered."""
        looks.clear()
        statements.clear()
        followed = [Asked(app, SCAN, client=f"192.0.2.{number}").begin() for number in range(streams)]
        await until(lambda: all(b"event: scan" in stream.body for stream in followed), 60)
        assert len(looks) <= 3, "the first look is of all"
        for number in range(20):
            asked = Asked(app, "/api/v1/models", query=b"limit=%d" % (number + 1), client="198.51.100.1")
            began = time.monotonic()
            await asked.begin().task
            assert (asked.status, time.monotonic() - began < 60) == (200, True)
        await until(lambda: len(looks) >= 6, 60)
        found = len(looks), len(statements)
        assert all(stream.body.count(b"event: ") == 1 for stream in followed), "nothing has changed"
        await leave(followed)
        return found

    async def scene() -> None:
        one, hundred = await during(1), await during(100)
        assert hundred[1] / hundred[0] < 2 * one[1] / one[0], "statements a look"
        count = len(looks)
        await asyncio.sleep(0.5)
        assert len(looks) <= count + 1, "nobody follows, nobody looks"

    play(scene)
    assert app.state.streams.topics == {}
    assert app.state.streams.open.total() == 0


def test_later_events_hold_the_audits_that_have_changed(engine: Engine, app: FastAPI) -> None:
    make_scan(engine, 50)

    async def scene() -> None:
        early = Asked(app, SCAN).begin()
        await until(early.events)
        for number in (7, 20, 33):
            before = len(early.events())
            await asyncio.to_thread(finish, engine, number, f"m{number - 1}")
            await until(lambda before=before: len(early.events()) > before)
        late = Asked(app, SCAN).begin()
        await until(late.events)
        await asyncio.to_thread(cancel_scan, engine, 1, "enough")
        await asyncio.gather(early.task, late.task)
        sizes = [len(told["audits"]) for name, told in early.events() if name == "scan"]
        assert sizes[0] == 50
        assert sum(sizes[1:-1]) <= 2 * 3
        assert all(size <= 2 for size in sizes[1:-1])
        assert next(len(told["audits"]) for name, told in late.events() if name == "scan") == 50
        for stream in (early, late):
            assert stream.events()[-1] == ("end", {"scan": 1, "state": stream.events()[-1][1]["state"]})
            assert stream.events()[-1][1]["state"] != "running"
            kept: dict[int, Any] = {}
            for name, told in stream.events():
                if name == "scan":
                    kept |= {audit["audit"]: audit for audit in told["audits"]}
            whole = await asyncio.to_thread(scans.load_scan, engine, 1)
            assert list(kept.values()) == list(map(serialize, whole.audits))
            last = next(told for name, told in reversed(stream.events()) if name == "scan")
            for name in ("done", "queued", "cancelled", "state", "finished_at"):
                assert last[name] == getattr(whole, name), name

    play(scene)


def make_boost(engine: Engine) -> None:
    request = {"recipe": {}, "scan": {"protocol": "quick", "samples": 20, "device": "cpu"}}
    Trainings(engine).create("boost", "demo:standard", entry("standard"), request, "cpu")


@pytest.mark.parametrize(("kind", "make"), [("scans", lambda engine: make_scan(engine, 3)), ("boosts", make_boost)])
@pytest.mark.parametrize(
    ("clients", "other"),
    [(["192.0.2.1"], "192.0.2.2"), (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1"), (["::ffff:192.0.2.1"], "::1")],
    ids=["IPv4", "a network of IPv6", "mapped"],
)
def test_an_address_has_so_many_streams(
    kind: str, make: Callable[[Engine], None], clients: list[str], other: str, engine: Engine, app: FastAPI
) -> None:
    make(engine)
    path = f"/api/v1/{kind}/1/events"

    async def scene() -> None:
        most = following.STREAMS_PER_CLIENT
        followed = [Asked(app, path, client=clients[number % len(clients)]).begin() for number in range(most)]
        await until(lambda: all(stream.events() for stream in followed))
        refused = Asked(app, path, client=clients[0]).begin()
        await refused.task
        assert (refused.status, refused.headers["retry-after"]) == (429, "10")
        assert refused.headers["content-type"] == "application/problem+json"
        fine = Asked(app, path, client=other).begin()
        await until(fine.events)
        await followed.pop().leave()
        again = Asked(app, path, client=clients[0]).begin()
        await until(again.events)
        await leave([*followed, fine, again])

    play(scene)
    assert app.state.streams.open.total() == 0


def test_the_server_has_so_many_streams(engine: Engine, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    make_scan(engine, 2)
    monkeypatch.setattr(following, "STREAMS", 5)

    async def scene() -> None:
        followed = [Asked(app, SCAN, client=f"192.0.2.{number}").begin() for number in range(5)]
        await until(lambda: all(stream.events() for stream in followed))
        refused = Asked(app, SCAN, client="192.0.2.9").begin()
        await refused.task
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        await leave(followed)

    play(scene)


@pytest.mark.parametrize("path", ["/api/v1/scans/9/events", "/api/v1/boosts/9/events"])
def test_a_stream_of_nothing_is_a_404_and_takes_no_place(path: str, app: FastAPI) -> None:
    async def scene() -> None:
        for _ in range(2 * following.STREAMS_PER_CLIENT):
            asked = Asked(app, path).begin()
            await asked.task
            assert asked.status == 404

    play(scene)
    assert (app.state.streams.topics, app.state.streams.open.total()) == ({}, 0)


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (OperationalError("SELECT", {}, Exception("away")), True), (NotFoundError("there is no scan 1"), False),
        (ValueError("of the inside"), False), (KeyError("audits"), False),
    ],
)  # fmt: skip
def test_a_look_that_fails(
    error: Exception, goes_on: bool, engine: Engine, app: FastAPI, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A database that is away is waited for; else the stream ends, and the client asks again."""
    make_scan(engine, 2)
    load = scans.load_scan

    def fail(*_: object) -> None:
        raise error

    async def scene() -> None:
        followed = [Asked(app, SCAN, client=f"192.0.2.{number}").begin() for number in range(3)]
        await until(lambda: all(stream.events() for stream in followed))
        monkeypatch.setattr(scans, "load_scan", fail)
        await asyncio.sleep(0.4)
        monkeypatch.setattr(scans, "load_scan", load)
        await asyncio.to_thread(finish, engine, 1, "m0")
        if goes_on:
            await until(lambda: all(len(stream.events()) == 2 for stream in followed))
            await leave(followed)
        else:
            await asyncio.gather(*(stream.task for stream in followed))
            assert all([name for name, _ in stream.events()] == ["scan"] for stream in followed)
            again = Asked(app, SCAN).begin()
            await until(again.events)
            await leave([again])

    play(scene)
    assert "Traceback" not in caplog.text


def test_a_client_that_takes_nothing_is_left(engine: Engine, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SEND_SECONDS", 0.2)
    make_scan(engine, 2)

    async def scene() -> None:
        stalled = Asked(app, SCAN)
        send = stalled._send

        async def never(message: dict[str, Any]) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                await asyncio.sleep(60)

        stalled._send = never  # type: ignore[method-assign]
        await asyncio.wait_for(stalled.begin().task, 10)

    play(scene)
    assert (app.state.streams.topics, app.state.streams.open.total()) == ({}, 0)
