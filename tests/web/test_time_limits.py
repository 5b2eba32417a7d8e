"""Requests that never end are ended, however they are kept alive; those that end in time are answered."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from tests.factories.records import REQUEST, entry
from tests.web.asgi import app
from tests.web.serving import BODY, HEAD, drip, shorter_limits, token

GET = b"GET /api/v1/scans HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /api/v1/scans HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of the server as ``auditor serve`` runs it, but for shorter limits."""
    with shorter_limits(app(per_minute=1_000_000), monkeypatch) as address:
        yield address


SLOW: list[tuple[str, bytes, bytes, float]] = [
    ("nothing at all", b"", b"", HEAD),
    ("a request line", b"", b"GET /" + b"a" * 500, HEAD),
    ("headers", b"GET / HTTP/1.1\r\n", b"X-Header: " + b"a" * 500, HEAD),
    ("a second head", GET, b"GET / HTTP/1.1\r\nHost: " + b"a" * 500, HEAD),
    ("a body", POST + b"Content-Length: 5000\r\n\r\n", b" " * 500, BODY),
    ("chunks", POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 200, BODY),
    ("chunk sizes", POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 500, BODY),
    ("a body that is awaited", POST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n", b" " * 500, BODY),
    ("a body too large", POST + b"Content-Length: 500000\r\n\r\n", b" " * 500, BODY),
    ("a body after a request", GET + POST + b"Content-Length: 5000\r\n\r\n", b" " * 500, BODY),
    ("a form", b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Type: "
     b"application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\n", b"a" * 500, BODY),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("first", "slowly", "limit"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
@pytest.mark.parametrize("silent", [False, True], ids=["drip", "silent"])
def test_what_never_ends_is_ended(
    silent: bool, first: bytes, slowly: bytes, limit: float, running: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(running) as connection:
        connection.sendall(first)
        if first.startswith(GET):
            connection.settimeout(5)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        if silent and first != GET:  # a connection without a request has uvicorn's own limit
            connection.settimeout(10)
            while connection.recv(65_536):
                pass
            took = time.monotonic() - began
        else:
            _, took = drip(connection, slowly)
    assert took < limit + 1.5
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_who_is_too_slow_is_told(head: bytes, running: tuple[str, int]) -> None:
    with socket.create_connection(running) as connection:
        connection.sendall(head)
        connection.settimeout(5)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert connection.recv(10) == b""


@pytest.mark.long
@pytest.mark.parametrize(
    "pieces",
    [
        [GET], [GET, GET, GET], [GET + GET + GET], [GET[:10], GET[10:]], [GET + GET[:20], GET[20:]],
        [POST + b"Content-Length: 2\r\n\r\n", b"{}", GET], [POST + b"Content-Length: 2\r\n\r\n{", b"}" + GET],
    ],
)  # fmt: skip
def test_who_is_in_time_is_answered(pieces: list[bytes], running: tuple[str, int]) -> None:
    expected = b"".join(pieces).count(b" HTTP/1.1\r\n")
    with socket.create_connection(running) as connection:
        got = b""
        for piece in pieces:
            connection.sendall(piece)
            connection.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while True:
                    got += connection.recv(65_536)
        connection.settimeout(10)
        while got.count(b"HTTP/1.1 ") < expected and (more := connection.recv(65_536)):
            got += more
    assert got.count(b"HTTP/1.1 ") == expected
    assert b" 408 " not in got


@pytest.mark.long
def test_a_stream_that_lasts_longer_than_all_limits_goes_on(running: tuple[str, int]) -> None:
    Store(open_database(settings().database_url)).create_scan("demo", REQUEST, [entry("a")], queue="cpu")
    with socket.create_connection(running) as connection:
        connection.sendall(b"GET /api/v1/scans/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.settimeout(5)
        got = b""
        while b"event: scan" not in got:
            got += connection.recv(65_536)
        connection.settimeout(HEAD + BODY + 1)
        with contextlib.suppress(TimeoutError):
            while True:
                assert connection.recv(65_536) != b"", "the stream was ended"


@pytest.mark.parametrize(
    "lines", [b"Host: [", b"Host: evil\r\nOrigin: http://[", b"Host: a\r\nHost: b", b"X: y", b"Host: \xff"]
)
def test_malformed_requests_of_a_socket_are_a_400(lines: bytes, running: tuple[str, int]) -> None:
    for line in (b"POST /sign-out HTTP/1.1", b"POST /sign-in HTTP/1.1"):
        with socket.create_connection(running) as connection:
            connection.sendall(line + b"\r\nContent-Length: 0\r\n" + lines + b"\r\n\r\n")
            connection.settimeout(5)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_forwarded_headers_are_not_believed_from_loopback(running: tuple[str, int]) -> None:
    secret = token("read")["Authorization"].removeprefix("Bearer ")
    body = b"token=" + secret.encode()
    head = (
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nX-Forwarded-Proto: https\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(running) as connection:
        connection.sendall(head + body)
        connection.settimeout(5)
        answer = connection.recv(65_536).lower()
    assert b"set-cookie" in answer
    assert b"secure" not in answer


@pytest.mark.long
def test_a_client_that_takes_no_answer_is_left(running: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"scan": number, "text": "x" * 10_000} for number in range(2000)]
    monkeypatch.setattr("auditor.web.api.scans.list_scans", lambda *_, **__: rows)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(running)
        connection.sendall(GET)
        time.sleep(3)
        connection.settimeout(5)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 20):
                got += len(piece)
    assert got < 20_000_000
