"""Kept responses: nobody sees an old one, or that of another user; ETag and 304."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.tokens import add_token, revoke_token
from auditor.web import response_cache
from auditor.web.app import create_app
from auditor.web.pages import common
from auditor.web.security.access import COOKIE
from tests.factories.databases import url  # noqa: F401
from tests.factories.records import done_audit
from tests.web.asgi import Asked

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For counts of renderings: in PostgreSQL, whatever is written to other databases of the server changes the version."""
PATHS = ("/", "/zoo", "/scans", "/api/v1/results", "/api/v1/models", "/docs", "/api/v1/openapi.json", "/sign-in")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:  # noqa: F811
    engine = open_database(url)
    done_audit(Store(engine), "first")
    yield engine
    engine.dispose()


@pytest.fixture
def app(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(response_cache, "KEPT_SECONDS", 3600)
    return create_app(engine, per_minute=1_000_000)


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates of the pages that were rendered."""
    found: list[str] = []
    real = common.render

    def count(template: str, **context: Any) -> str:
        found.append(template)
        return real(template, **context)

    monkeypatch.setattr(common, "render", count)
    return found


def signed_in(engine: Engine, name: str, scope: str = "read") -> list[tuple[str, str]]:
    return [("cookie", f"{COOKIE}={add_token(engine, name, scope)}")]


@ON_SQLITE
def test_a_page_is_rendered_once_until_something_is_written(app: FastAPI, url: str, renderings: list[str]) -> None:  # noqa: F811
    before = [Asked(app, "/").now().body for _ in range(3)]
    assert len(set(before)) == len(renderings) == 1
    other = open_database(url)  # as another process writes
    done_audit(Store(other), "second", identity="j")
    other.dispose()
    after = Asked(app, "/").now().body
    assert b"demo:second" in after
    assert b"demo:second" not in before[0]
    assert len(renderings) == 2


def test_a_client_sees_what_it_wrote(app: FastAPI, engine: Engine) -> None:
    admin = [("authorization", f"Bearer {add_token(engine, 'admin', 'admin')}"), ("content-type", "application/json")]
    path = "/api/v1/schedules"
    for number in range(3):
        names = Asked(app, path).now().body
        assert f"night-{number}".encode() not in names
        body = b'{"cron": "0 2 * * *", "scan": {"source": "demo"}}'
        asked = Asked(app, f"{path}/night-{number}", "PUT", headers=admin, body=body).now()
        assert asked.status == 200, asked.body
        assert f"night-{number}".encode() in Asked(app, path).now().body


def test_nobody_gets_the_page_of_another_one(app: FastAPI, engine: Engine) -> None:
    people: dict[str, Any] = {name: signed_in(engine, name) for name in ("anna", "bert")}
    people["nobody"] = []
    for _ in range(2):
        for name, headers in people.items():
            body = Asked(app, "/", headers=headers).now().body.decode()
            assert {one for one in ("anna", "bert") if f"{one} (read)" in body} == {name} - {"nobody"}


def test_a_revoked_token_opens_nothing_that_was_kept(engine: Engine) -> None:
    closed = create_app(engine, open_reading=False)
    reader = signed_in(engine, "anna")
    program = [("authorization", reader[0][1].replace(f"{COOKIE}=", "Bearer "))]
    for _ in range(2):
        assert Asked(closed, "/", headers=reader).now().status == 200
        assert Asked(closed, "/api/v1/results", headers=program).now().status == 200
        assert Asked(closed, "/").now().status == 303
        assert Asked(closed, "/api/v1/results").now().status == 401
    revoke_token(engine, "anna")
    assert Asked(closed, "/", headers=reader).now().status == 303
    assert Asked(closed, "/api/v1/results", headers=program).now().status == 401


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS)
def test_what_has_not_changed_is_304(app: FastAPI, engine: Engine, path: str) -> None:
    first = Asked(app, path).now()
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    assert {"Cookie", "Authorization"} <= {one.strip() for one in first.headers["vary"].split(",")}
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = Asked(app, path, headers=[("if-none-match", given)]).now()
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == "private, no-cache"
        assert "content-length" not in again.headers
        assert "content-security-policy" in again.headers
    assert Asked(app, path, headers=[("if-none-match", '"other"')]).now().status == 200
    if path in ("/", "/api/v1/results", "/api/v1/models"):
        done_audit(Store(engine), "second", identity="j")
        changed = Asked(app, path, headers=[("if-none-match", etag)]).now()
        assert (changed.status, changed.headers["etag"] != etag) == (200, True)


def test_head_has_the_headers_of_get(app: FastAPI) -> None:
    get, head = (Asked(app, "/", method).now() for method in ("GET", "HEAD"))
    assert {name: head.headers[name] for name in ("etag", "content-length", "cache-control")} == {
        name: get.headers[name] for name in ("etag", "content-length", "cache-control")
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/api/v1/results?eps=-1", 422), ("/api/v1/health", 200), ("/audits/99", 404)],
)
def test_errors_and_the_health_are_not_kept(app: FastAPI, path: str, status: int) -> None:
    asked = Asked(app, path.partition("?")[0], query=path.partition("?")[2].encode()).now()
    assert (asked.status, asked.headers["cache-control"], "etag" in asked.headers) == (status, "no-store", False)


def test_static_files_have_an_etag(app: FastAPI) -> None:
    etag = Asked(app, "/static/style.css").now().headers["etag"]
    assert Asked(app, "/static/style.css", headers=[("if-none-match", etag)]).now().status == 304


@ON_SQLITE
def test_many_readers_of_one_page_wait_for_one_rendering(app: FastAPI, renderings: list[str]) -> None:
    async def crowd() -> list[Asked]:
        readers = [Asked(app, "/").begin() for _ in range(50)]
        for reader in readers:
            assert reader.task is not None
            await reader.task
        return readers

    readers = asyncio.run(crowd())
    assert {reader.status for reader in readers} == {200}
    assert len({reader.body for reader in readers}) == len(renderings) == 1


class Slow:
    """An application whose reports end when they may; it counts those that are rendered at once."""

    def __init__(self, body: bytes = b"report") -> None:
        self.may_end, self.running, self.most, self.body = asyncio.Event(), 0, 0, body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002
        is_report = scope["path"].endswith("/report")
        self.running += is_report
        self.most = max(self.most, self.running)
        if is_report:
            await self.may_end.wait()
        self.running -= is_report
        body = self.body if is_report else b"page"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": body})


class Version:
    is_quick = True

    def read(self) -> str:
        return "1"


def test_slow_reports_leave_all_turns_to_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_cache, "RENDERED_AT_ONCE", 1)

    async def ask() -> tuple[int, list[Asked]]:
        slow = Slow()
        cache = response_cache.ResponseCache(slow, Version())  # type: ignore[arg-type]
        reports = [Asked(cache, f"/scans/{number}/report").begin() for number in range(10)]
        await asyncio.sleep(0)
        page = Asked(cache, "/").begin()
        await asyncio.wait_for(page.task, 10)
        assert page.body == b"page"
        slow.may_end.set()
        await asyncio.wait_for(asyncio.gather(*(report.task for report in reports)), 10)
        return slow.most, reports

    most, reports = asyncio.run(ask())
    assert most == 1
    assert {report.body for report in reports} == {b"report"}


def test_clients_that_read_slowly_hold_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_cache, "LARGEST_BYTES", 3)

    async def ask() -> None:
        slow = Slow()
        slow.may_end.set()
        cache = response_cache.ResponseCache(slow, Version())  # type: ignore[arg-type]
        stuck = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await stuck.wait()

        readers = []
        for number in range(10):
            scope = Asked(cache, f"/scans/{number}/report").scope
            readers.append(asyncio.create_task(cache(scope, send, send)))
        await asyncio.sleep(0)
        page = Asked(cache, "/scans/99/report").begin()
        while not page.status:  # the head comes although ten others do not read theirs
            await asyncio.sleep(0.001)
        await asyncio.wait_for(page.task, 10)
        assert page.body == b"report"
        stuck.set()
        await asyncio.gather(*readers)

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_words_about_time_do_not_grow_old(app: FastAPI, monkeypatch: pytest.MonkeyPatch, renderings: list[str]) -> None:
    monkeypatch.setattr(response_cache, "KEPT_SECONDS", 0)
    assert [Asked(app, "/").now().status for _ in range(2)] == [200, 200]
    assert len(renderings) == 2


@ON_SQLITE
def test_long_cookies_take_no_memory(app: FastAPI) -> None:
    cache = app.build_middleware_stack()
    while not isinstance(cache, response_cache.ResponseCache):
        cache = cache.app  # type: ignore[attr-defined]
    app.middleware_stack = cache
    for number in range(5):
        Asked(app, "/", headers=[("cookie", f"x={number}" + "x" * 10_000)]).now()
    assert len(cache.kept) == 5
    assert all(len(repr(key)) < 300 for key in cache.kept)


@ON_SQLITE
def test_only_so_many_bytes_are_kept(app: FastAPI, monkeypatch: pytest.MonkeyPatch, renderings: list[str]) -> None:
    monkeypatch.setattr(response_cache, "KEPT_BYTES", 3 * len(Asked(app, "/").now().body))
    for number in range(10):
        assert Asked(app, "/", query=f"match={number}".encode()).now().status == 200
    renderings.clear()
    Asked(app, "/", query=b"match=9").now()
    Asked(app, "/", query=b"match=0").now()
    assert len(renderings) == 1
