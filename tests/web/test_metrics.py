"""`auditor metrics` refuses other hosts and ends requests that never end, as `auditor serve` does."""

import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from auditor.config import settings
from auditor.db.session import open_database
from auditor.machine.prometheus import make_registry
from auditor.web.metrics import create_metrics_app
from auditor.web.security.hosts import allowed_hosts
from tests.factories.command import run
from tests.web.asgi import Asked
from tests.web.serving import drip, shorter_limits

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def registry() -> CollectorRegistry:
    return make_registry(open_database(settings().database_url), None)


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Starlette:
    return create_metrics_app(registry, allowed_hosts("127.0.0.1", ["metrics.example.com"]))


@pytest.fixture
def running(metrics: Starlette, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    with shorter_limits(metrics, monkeypatch) as address:
        yield address


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9464", "[::1]:9464", "metrics.example.com:9464", None])
@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_known_hosts_are_answered(path: str, host: str | None, metrics: Starlette) -> None:
    answer = Asked(metrics, path, host=host).now()
    assert answer.status == 200
    assert b"auditor_up 1.0" in answer.body
    assert answer.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/", "/metrics", "/other"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "10.0.0.1", "metrics.example.com.evil.example"])
def test_other_hosts_are_refused_with_the_option_that_allows_them(path: str, host: str, metrics: Starlette) -> None:
    refused = Asked(metrics, path, host=host).now()
    assert refused.status == 400
    assert f"auditor metrics --allowed-host {host.partition(':')[0]}" in refused.body.decode()
    assert b"auditor_up" not in refused.body


@pytest.mark.parametrize("host", ["", "[", "a b", b"\xff", "localhost:99999"])
def test_malformed_hosts_are_a_400(host: str | bytes, metrics: Starlette) -> None:
    assert Asked(metrics, "/metrics", host=host).now().status == 400


def test_beyond_loopback_any_address_is_answered(registry: CollectorRegistry) -> None:
    served = create_metrics_app(registry, allowed_hosts("0.0.0.0", []))
    for host in ("10.0.0.1:9464", socket.gethostname(), "localhost"):
        assert Asked(served, "/metrics", host=host).now().status == 200, host
    assert Asked(served, "/metrics", host="evil.example").now().status == 400


def test_compressed_and_in_the_other_format(metrics: Starlette) -> None:
    headers = [("accept", "application/openmetrics-text; version=1.0.0"), ("accept-encoding", "gzip")]
    open_metrics = Asked(metrics, "/metrics", headers=headers, host="localhost").now()
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/metrics", "POST", 405), ("/metrics", "HEAD", 200), ("/favicon.ico", "GET", 404), ("/x", "GET", 404)],
)
def test_other_requests(path: str, method: str, status: int, metrics: Starlette) -> None:
    headers = [("origin", "http://localhost")]
    assert Asked(metrics, path, method, host="localhost", headers=headers).now().status == status


SLOW = {
    "nothing at all": (b"", b""),
    "a request line": (b"", b"GET /" + b"a" * 500),
    "headers": (b"GET /metrics HTTP/1.1\r\n", b"X-Header: " + b"a" * 500),
    "a second head": (GET, b"GET /metrics HTTP/1.1\r\nHost: " + b"a" * 500),
    "a body": (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", b" " * 500),
}


@pytest.mark.long
@pytest.mark.parametrize(("first", "slowly"), SLOW.values(), ids=SLOW)
def test_what_never_ends_is_ended(first: bytes, slowly: bytes, running: tuple[str, int]) -> None:
    with socket.create_connection(running) as connection:
        connection.sendall(first)
        if first == GET:
            connection.settimeout(20)
            got = b""
            while b"auditor_up 1.0" not in got:
                got += connection.recv(65_536)
        drip(connection, slowly)  # raises if the connection stays open
    with socket.create_connection(running) as connection:
        connection.sendall(GET)
        connection.settimeout(20)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "words",
    [("--allowed-host", "https://metrics.example.com"), ("--allowed-host", ""), ("--host", "metrics.example.com")],
)
def test_what_is_no_host_is_one_line(words: tuple[str, str]) -> None:
    refused = run("metrics", *words)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert f"{words[0]}: expected" in refused.stderr
