"""Whatever clients send as headers is no crash; and which headers answers have."""

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from auditor.config import settings
from tests.factories.checkpoint_rows import row
from tests.web.asgi import Asked, app
from tests.web.serving import token

VALUES = st.one_of(
    st.binary(max_size=60).map(lambda text: text.translate(None, b"\r\n\0")),
    st.text("[]()<>@,;:\\\"/?={} \tabz019-_.%*", max_size=40).map(str.encode),
    st.sampled_from([
        b"http://[", b"[", b"bytes=", b"bytes=-", b"bytes=0-0,1-1,-1", b"bytes=9-1", b"bytes=" + b"9" * 5000 + b"-",
        b"bytes=0-" + b"9" * 5000, b"items=0-1", b"bytes=a-b", b"bytes=" + b"0-1," * 2000, b'"', b'W/"', b"*",
        b"Bearer", b"Bearer ",
        b"Basic \xff", b"Bearer auditor_1_" + b"\xff" * 43, b"Bearer auditor_999999999_" + b"x" * 43,
        b"a=b; auditor_token=\xff",
        b'auditor_token="\\777\\377', b"=", b";;;", b"multipart/form-data", b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"x" * 5000, b"multipart/form-data; boundary=\xff",
        b"application/x-www-form-urlencoded; charset=nonsense", b"application/json; charset=nonsense",
        b"text/plain;;;=",
        b"Thu, 99 Foo 99999 99:99:99 GMT", b"Thu, 01 Jan 0000 00:00:00 +9999999", b"-1", b"1e9", b"9" * 5000, b"\xb2",
        b"1, 1",
        b"for=\"[", b"for=_;proto=;;by", b"gzip;q=nan", b"en;q=" + b"9" * 400,
    ]),
)  # fmt: skip
NAMES = (
    "origin", "referer", "forwarded", "x-forwarded-for", "x-forwarded-proto", "range", "if-range", "if-none-match",
    "if-match",
    "if-modified-since", "cookie", "authorization", "content-length", "content-type", "content-encoding", "accept",
    "accept-encoding", "accept-language", "transfer-encoding", "expect", "upgrade", "connection", "last-event-id",
    "host",
)  # fmt: skip
ROUTES = (
    ("GET", "/"), ("GET", "/sign-in"), ("GET", "/static/style.css"), ("GET", "/api/v1/scans"), ("GET",
    "/api/v1/openapi.json"),
    ("GET", "/api/v1/checkpoints/1/weights"), ("HEAD", "/scans"), ("POST", "/sign-in"), ("POST", "/sign-out"),
    ("POST", "/scans"),
    ("POST", "/api/v1/scans"), ("PUT", "/api/v1/schedules/x"), ("DELETE", "/api/v1/schedules/x"),
)  # fmt: skip


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FastAPI, dict[str, str]]:
    """An application with a checkpoint, and the header of a token."""
    folder = tmp_path / "checkpoints" / "1"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(folder.parent))
    settings.cache_clear()
    found = row(folder, id=1, checkpoint="checkpoint:1")
    monkeypatch.setattr("auditor.web.api.checkpoints.load_checkpoint", lambda *_: found)
    return app(per_minute=10_000_000, trusted_proxies=["192.0.2.1"]), token("scan")


@pytest.mark.long
@hypothesis_settings(max_examples=400, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    route=st.sampled_from(ROUTES), headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), min_size=1, max_size=4)
)
@example(route=("POST", "/sign-in"), headers=[("origin", b"http://[")])
@example(route=("POST", "/scans"), headers=[("host", b"[")])
@example(route=("GET", "/api/v1/checkpoints/1/weights"), headers=[("range", b"bytes=" + b"9" * 5000 + b"-")])
@example(route=("GET", "/static/style.css"), headers=[("range", b"bytes=0-" + b"9" * 5000)])
@example(route=("GET", "/static/style.css"), headers=[("if-modified-since", b"Thu, 01 Jan 0000 00:00:00 +9999999")])
def test_no_header_is_a_crash(
    served: tuple[FastAPI, dict[str, str]], route: tuple[str, str], headers: list[tuple[str, bytes]]
) -> None:
    served_app, bearer = served
    given_names = {name for name, _ in headers}
    more = [(name.lower(), text) for name, text in bearer.items() if name.lower() not in given_names]
    own = [] if "origin" in given_names else [("origin", "http://testserver")]
    host = None if "host" in given_names else "testserver"
    asked = Asked(served_app, route[1], route[0], headers=[*headers, *more, *own], host=host, body=b"{}").now()
    assert 200 <= asked.status < 500, (asked.status, asked.body)


def test_malformed_paths_and_queries_are_no_crash() -> None:
    served = app()
    for path, query in (
        ("/\0", b""),
        ("/models/a\0b", b""),
        ("/api/v1/results", b"model=%00"),
        ("*", b""),
        ("http://x/", b""),
    ):
        assert Asked(served, path, query=query).now().status == 400, path


@pytest.mark.long
@pytest.mark.parametrize("opened", [True, False])
def test_caches_ask_again_and_share_nothing(opened: bool) -> None:
    served = app(open_reading=opened)
    bearer = [(name.lower(), text) for name, text in token("read").items()]
    for path in ("/", "/scans", "/api/v1/results", "/api/v1/openapi.json"):
        if Asked(served, path, headers=bearer).now().status == 200:
            assert Asked(served, path, headers=bearer).now().headers["cache-control"] == "private, no-cache", path
    for path in ("/nothing", "/api/v1/scans/7", "/api/v1/health"):
        assert Asked(served, path, headers=bearer).now().headers["cache-control"] == "no-store", path
    assert Asked(served, "/static/style.css").now().headers["cache-control"] == "no-cache"


@pytest.mark.long
def test_the_description_of_a_closed_server_wants_a_token() -> None:
    opened, closed = app(), app(open_reading=False)
    assert Asked(opened, "/api/v1/openapi.json").now().status == 200
    assert Asked(closed, "/api/v1/openapi.json").now().status == 401
    page = Asked(closed, "/docs").now()
    assert (page.status, page.headers["location"]) == (303, "/sign-in?next=/docs")
    for path in ("/redoc", "/openapi.json", "/docs/oauth2-redirect"):
        assert Asked(closed, path).now().status == 404, path
    for scope in ("read", "scan", "boost"):
        bearer = [(name.lower(), text) for name, text in token(scope).items()]
        described = Asked(closed, "/api/v1/openapi.json", headers=bearer).now()
        assert described.status == 200
    paths = json.loads(described.body)["paths"]
    assert len(paths) > 15
    for path, operations in paths.items():
        if path == "/api/v1/health":
            continue  # it takes no parameter
        for method, operation in operations.items():
            assert {"400", "429"} <= set(operation["responses"]), (path, method)
