"""The server: addresses and queries of pages and of the API, bodies, cursors, headers."""

import asyncio
import atexit
import base64
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_from_bytes, unquote

from auditor.cli.schedule import check_remote_scan
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.tokens import add_token
from auditor.text.printable import find_unprintable
from auditor.web.app import create_app
from auditor.web.build_requests import build_boost_request, build_scan_request
from tests.factories.adaptations import adapted
from tests.factories.audits import audited
from tests.fuzz.contract import BrokenPromiseError, Target

MARK = "<fuzz-mark"
"""A page that has this in its markup took it from a request."""
HOST = [(b"host", b"127.0.0.1")]


@functools.cache
def _server() -> tuple[Any, bytes, asyncio.AbstractEventLoop]:
    """The application with a few results, an admin's token, and a loop. What a valid request would start is not run."""
    folder = tempfile.mkdtemp(prefix="fuzz-web-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    before = os.environ.get("AUDITOR_DATABASE_URL")
    os.environ["AUDITOR_DATABASE_URL"] = f"sqlite:///{folder}/auditor.db"
    settings.cache_clear()
    try:
        audited("strong", 80)
        audited("weak", 20)
        adapted()
        engine = open_database(settings().database_url)
        secret = add_token(engine, "fuzz", "admin")
        app = create_app(engine, per_minute=1_000_000_000, check_scan=check_remote_scan)
    finally:
        os.environ.pop("AUDITOR_DATABASE_URL")
        os.environ |= {} if before is None else {"AUDITOR_DATABASE_URL": before}
        settings.cache_clear()
    app.state.background = lambda: SimpleNamespace(
        start_scan=lambda body: build_scan_request(body) and 1,
        start_boost=lambda body: build_boost_request(body) and 1,
        retry_scan=lambda _: None, resume_boost=lambda _: None, run_schedule=lambda _: None,
    )  # fmt: skip
    return app, secret.encode(), asyncio.new_event_loop()


def _ask(method: str, path: bytes, query: bytes = b"", body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
    """One request as uvicorn passes it on; any answer is complete, no crash, and has no markup of the request."""
    app, secret, loop = _server()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query, "root_path": "",
        "headers": [*HOST, (b"authorization", b"Bearer " + secret), *headers], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    loop.run_until_complete(asyncio.wait_for(app(scope, receive, send), 30))
    _check_response(sent)


def _check_response(sent: Sequence[dict[str, Any]]) -> None:
    status, headers = sent[0]["status"], dict(sent[0]["headers"])
    content = b"".join(message.get("body", b"") for message in sent[1:])
    if status >= 500:
        raise BrokenPromiseError(f"status {status}: {content!r:.200}")
    if any(letter in value for value in headers.values() for letter in b"\r\n\0"):
        raise BrokenPromiseError(f"a header with a line break: {headers!r:.200}")
    kind = headers.get(b"content-type", b"")
    if kind.startswith(b"application/problem+json"):
        detail = json.loads(content)["detail"]
        if find_unprintable(detail) or not detail or len(detail) > 2000:
            raise BrokenPromiseError(f"a detail that cannot be shown: {detail!r:.200}")
    elif kind.startswith(b"text/html") and MARK.encode() in content.lower():
        raise BrokenPromiseError("markup of the request is in the page")


def address(data: bytes, folder: Path) -> None:  # noqa: ARG001
    path, _, query = data.partition(b"?")
    if path.endswith(b"/events"):
        return  # a stream, which lasts
    _ask(
        "GET", b"/" + quote_from_bytes(path, safe="/:%=&~+").encode(), quote_from_bytes(query, safe="/:%=&~+;").encode()
    )


def address_seeds() -> Sequence[bytes]:
    cursor = base64.urlsafe_b64encode(b'["scan",1]').rstrip(b"=")
    return [
        b"api/v1/results?status=done&sort=robust_accuracy&limit=1&history=true&since=2026-01-01T00:00:00Z",
        b"api/v1/results?cursor=" + base64.urlsafe_b64encode(b'["robust_accuracy",0.5,1]'),
        b"api/v1/scans?state=done&cursor=" + cursor, b"api/v1/results/1/matrices/weights?x=1",
        b"api/v1/models?match=*st*&architecture=small", b"api/v1/models/demo:strong",
        b"api/v1/comparison?a=strong&b=demo:weak@1&protocol=quick", b"api/v1/adaptations/1", b"?sort=gap&model=a",
        b"compare?model=strong&model=weak", b"audits/1", b"models/demo:<fuzz-mark>", b"scans/1?cursor=x",
        b"zoo?q=%3Cfuzz-mark",
        b"sign-in?next=//evil.example", b"static/../../etc/passwd", b"schedules?cursor=", b"leaderboard.csv?eps=8/255",
    ]  # fmt: skip


BODIES = {
    b"s": ("POST", b"/api/v1/scans"), b"b": ("POST", b"/api/v1/boosts"), b"p": ("PUT", b"/api/v1/schedules/nightly"),
    b"r": ("POST", b"/api/v1/scans/1/retry"), b"f": ("POST", b"/sign-in"),
}  # fmt: skip


def body(data: bytes, folder: Path) -> None:  # noqa: ARG001
    """The first letter says which route gets the rest as its body."""
    method, path = BODIES.get(data[:1], BODIES[b"s"])
    kind = b"application/x-www-form-urlencoded" if data[:1] == b"f" else b"application/json"
    _ask(method, path, b"", data[1:], (b"content-type", kind), (b"origin", b"http://127.0.0.1"))


def body_seeds() -> Sequence[bytes]:
    scan = {"source": "demo", "models": ["demo:standard"], "protocol": "quick", "samples": 20, "seed": 1, "norm": "L2",
            "eps": 0.5, "device": "cpu", "match": "*", "limit": 1, "force": True}  # fmt: skip
    boost = {"model": "demo:standard", "method": "at", "epochs": 1, "protocol": "quick", "samples": 20}
    schedule = {"cron": "0 2 * * *", "enabled": False, "scan": {"source": "demo", "protocol": "quick"}}
    return [
        b"s" + json.dumps(scan).encode(), b"b" + json.dumps(boost).encode(), b"p" + json.dumps(schedule).encode(),
        b"r{}", b"ftoken=abc&next=/scans", b"s[1,2]", b"s" + b"[" * 2000,
    ]  # fmt: skip


TARGETS = (
    Target("web-address", address, address_seeds, length=1024),
    Target("web-body", body, body_seeds, length=2048),
)
