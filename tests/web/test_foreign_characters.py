"""NUL characters and halves of surrogate pairs in requests: PostgreSQL stores neither, so both are refused with a line.

SQLite would take some of them; the answers are the same on both databases.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, text

from auditor.cli.schedule import check_remote_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.tokens import add_token
from auditor.web.app import create_app
from tests.factories.databases import url  # noqa: F401
from tests.factories.records import REQUEST, entry, record
from tests.web.asgi import FORM, Asked

JSON = [("content-type", "application/json")]
ODD = {"NUL": "a\0b", "half of a pair": "a\ud800b", "other half": "\udcff", "only NUL": "\0"}


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:  # noqa: F811
    engine = open_database(url)
    store = Store(engine)
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    store.finish(job.audit_id, store.claim(job.audit_id), record())
    yield engine
    engine.dispose()


@pytest.fixture
def server(engine: Engine) -> Any:
    return create_app(engine, per_minute=100_000, check_scan=check_remote_scan)


@pytest.fixture
def admin(engine: Engine) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {add_token(engine, 'admin', 'admin')}")]


def check_refused(answer: Asked, *, status: range = range(400, 500)) -> None:
    assert answer.status in status, (answer.status, answer.body)
    if answer.headers["content-type"] == "application/problem+json":
        detail = json.loads(answer.body)["detail"]
        assert len(detail.splitlines()) == 1
        assert detail.isprintable()


SCAN = {"source": "demo", "models": ["standard"], "protocol": "screen"}
BOOST = {"model": "demo:standard"}
SCHEDULE = {"cron": "0 2 * * *", "scan": SCAN}


def bodies(odd: str) -> list[tuple[str, str, Any]]:
    """Every text of every body, and names of fields."""
    found: list[tuple[str, str, Any]] = []
    scans = [
        *(SCAN | {name: odd} for name in ("source", "match", "dataset", "threat_model", "protocol", "norm", "device")),
        SCAN | {"models": [odd]}, SCAN | {"models": [f"demo:standard{odd}"]},
        {"source": "demo", "match": f"[!{odd}]*"}, SCAN | {"linearization": odd},
        SCAN | {odd: 1}, SCAN | {"samples": odd}, {odd: odd}, odd, [odd],
    ]  # fmt: skip
    for scan in scans:
        found += [("POST", "/api/v1/scans", scan), ("PUT", "/api/v1/schedules/nightly", SCHEDULE | {"scan": scan})]
    found += [("PUT", "/api/v1/schedules/nightly", SCHEDULE | {"cron": cron}) for cron in (odd, f"0 2 * * *{odd}")]
    found += [("PUT", "/api/v1/schedules/nightly", SCHEDULE | {odd: 1})]
    names = ("method", "regularizer", "norm", "protocol", "device")
    found += [("POST", "/api/v1/boosts", BOOST | {name: odd}) for name in names]
    found += [("POST", "/api/v1/boosts", body) for body in ({"model": f"demo:{odd}"}, {"model": odd}, BOOST | {odd: 1})]
    return found


@pytest.mark.long
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_bodies(odd: str, server: Any, admin: list[tuple[str, str]], engine: Engine) -> None:
    for method, path, body in bodies(odd):
        escaped = json.dumps(body).encode()
        raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        wide = json.dumps(body, ensure_ascii=False).encode("utf-16", "surrogatepass")
        for content in (escaped, raw, wide):
            answer = Asked(server, path, method, headers=[*JSON, *admin], body=content).now()
            check_refused(answer)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM schedules")) == 0
        assert connection.scalar(text("SELECT COUNT(*) FROM scans")) == 1
        assert connection.scalar(text("SELECT COUNT(*) FROM trainings")) == 0


TEXTS = ("model", "match", "source", "dataset")
CHOICES = ("protocol", "linearization", "correlation", "status", "flagged", "history", "scan", "sort", "limit")
QUERIES = [
    *(("/api/v1/results", name) for name in (*TEXTS, *CHOICES, "cursor")),
    *(("/api/v1/audits", name) for name in (*TEXTS, "cursor")),
    *(("/api/v1/models", name) for name in ("source", "dataset", "cursor")),
    *(("/", name) for name in ("match", "source", "dataset", "protocol", "flagged", "sort", "cursor")),
    *(("/zoo", name) for name in ("setting", "by")),
    *(("/api/v1/scans", name) for name in ("state", "limit")),
    *((path, "cursor") for path in ("/boosts", "/checkpoints", "/adaptations", "/api/v1/checkpoints")),
    *(("/api/v1/adaptations", name) for name in ("state", "cursor")),
    *(("/schedules", name) for name in ("name", "cron", "command")),
    ("/api/v1/boosts", "limit"), ("/compare", "first"), ("/api/v1/compare", "first"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_queries(odd: str, server: Any) -> None:
    """What is no text as UTF-8 arrives with replacement characters, and finds nothing."""
    coded = quote(odd.encode("utf-8", "surrogatepass")).encode()
    for path, name in QUERIES:
        answer = Asked(server, path, query=name.encode() + b"=" + coded).now()
        if "\0" in odd:
            check_refused(answer)
        else:
            assert answer.status in (200, 404, 422), (path, name, answer.status, answer.body)
        raw = Asked(server, path, query=name.encode() + b"=" + odd.encode("utf-8", "surrogatepass")).now()
        assert 200 <= raw.status < 500, (path, name, raw.status)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_cursors(odd: str, server: Any) -> None:
    def encode(*content: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    for sort in ("model", "-model", "source", "dataset", "protocol", "started_at"):
        query = f"sort={sort}&cursor=".encode() + encode(sort, odd, 1)
        for path in ("/api/v1/results", "/api/v1/audits", "/"):
            check_refused(Asked(server, path, query=query).now())
    check_refused(Asked(server, "/api/v1/models", query=b"cursor=" + encode("name", odd)).now())


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_paths(odd: str, server: Any, admin: list[tuple[str, str]]) -> None:
    """A server decodes paths with replacement characters; a path with halves of pairs is refused all the same."""
    for method, path in (
        ("GET", "/api/v1/models/{}"), ("GET", "/api/v1/models/demo:{}"), ("GET", "/api/v1/results/{}"),
        ("GET", "/api/v1/results/1/matrices/{}"), ("GET", "/api/v1/scans/{}"), ("GET", "/scans/{}"),
        ("DELETE", "/api/v1/schedules/{}"), ("GET", "/api/v1/checkpoints/{}"), ("GET", "/{}"), ("GET", "/static/{}"),
        ("PUT", "/api/v1/schedules/{}"), ("POST", "/api/v1/boosts/{}/cancel"),
        ("POST", "/api/v1/adaptations/{}/cancel"), ("POST", "/api/v1/schedules/{}/run"), ("GET", "/adaptations/{}"),
        ("GET", "/checkpoints/{}/card"), ("GET", "/schedules/{}"),
    ):  # fmt: skip
        asked = Asked(server, "/", method, headers=[*JSON, *admin], body=json.dumps(SCHEDULE).encode())
        asked.scope["path"] = path.format(odd)
        asked.scope["raw_path"] = quote(path.format(odd).encode("utf-8", "surrogatepass")).encode()
        check_refused(asked.now())


@pytest.mark.long
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-7", "raw_unicode_escape", "unicode_escape", "punycode"])
def test_in_forms(odd: str, charset: str, server: Any, admin: list[tuple[str, str]]) -> None:
    origin = [("origin", "http://testserver")]
    fields = {"source": "demo", "protocol": "screen", "match": "standard", "samples": "8"}
    pages = [("/scans", fields, name) for name in fields] + [("/sign-in", {"token": "x"}, "token")]
    pages += [("/boosts", {"model": "demo:standard", "epochs": "1", "method": "at"}, "model")]
    schedule = {"name": "nightly", "cron": "0 2 * * *", "command": "scan demo"}
    pages += [("/schedules", schedule, name) for name in schedule]
    pages += [("/tokens", {"name": "ci", "scope": "read", "days": "1"}, name) for name in ("name", "scope", "days")]
    for path, values, name in pages:
        given = values | {name: odd}
        coded = "&".join(f"{key}={quote(value.encode('utf-8', 'surrogatepass'))}" for key, value in given.items())
        answer = Asked(server, path, "POST", headers=[*FORM, *origin, *admin], body=coded.encode()).now()
        check_refused(answer)
        lines = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="' + key.encode() + b'"\r\n\r\n'
            + _encode(value, charset) + b"\r\n"
            for key, value in given.items()
        )  # fmt: skip
        kind = [("content-type", f"multipart/form-data; boundary=x; charset={charset}")]
        answer = Asked(server, path, "POST", headers=[*kind, *origin, *admin], body=lines + b"--x--\r\n").now()
        check_refused(answer)


def _encode(value: str, charset: str) -> bytes:
    try:
        return value.encode(charset)
    except UnicodeEncodeError:
        return value.encode("utf-8" if charset == "punycode" else charset, "surrogatepass")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_in_tokens(odd: str, server: Any) -> None:
    for token in (odd, f"auditor_1_{'a' * 42}{odd}", f"auditor_1{odd}_{'a' * 43}"):
        given = token.encode("utf-8", "surrogatepass")
        check_refused(Asked(server, "/api/v1/scans", headers=[("authorization", b"Bearer " + given)]).now())
        cookie = Asked(server, "/sign-in", headers=[("cookie", b"auditor_token=" + given)]).now()
        assert cookie.status == 200
