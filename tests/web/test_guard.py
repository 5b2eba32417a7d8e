"""What is refused at the door: other hosts, malformed headers, and forms of other sites."""

import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from auditor.web.security.hosts import AllowedHosts, allowed_hosts, check_name, read_authority
from tests.factories.command import run
from tests.web.asgi import FORM, Asked, app
from tests.web.serving import token

LOOPBACK = AllowedHosts({"audits.example.com", "*.lab.example"})


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.8.9.1", "[::1]", "[::1]:8000",
        "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "audits.example.com", "Audits.Example.COM.:443", "a.lab.example",
        "a.b.lab.example:80", "localhost:",
    ],
)  # fmt: skip
def test_hosts_that_a_loopback_server_is_known_as(host: str) -> None:
    assert Asked(app(hosts=LOOPBACK), "/api/v1/scans", host=host).now().status == 200


OTHERS = (
    "evil.example", "evil.example:8000", "localhost.evil.example", "audits.example.com.evil.example", "lab.example",
    "evillab.example", "127.0.0.1.evil.example", "10.0.0.1", "192.168.1.5:8000", "169.254.169.254", "[2001:db8::1]",
    "0.0.0.0", "2130706433", "0x7f.1", "localhost.localdomain", "testserver", "127.0.0.1.nip.io",
)  # fmt: skip
MALFORMED = (
    "", "[", "]", "[]", "[::1", "::1", "[::1]x", "[::1]:", "a:b", "localhost:99999", "localhost:-1", "a b", "a/b", "@",
    "user@localhost", "localhost@evil", "[fe80::1%eth0]", "[v1.x]", "..", ".", "a..b", "-", "localhost,evil",
    "local\thost",
    b"\xff\xfe", b"localhost\xa0", "x" * 64, "x." * 130, "[::ffff:999.0.0.1]", "http://localhost",
    "localhost:8000:8000",
    "localhost:" + "8" * 5000, "[" * 5000, "\u2603", "localhost:८०",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/api/v1/scans", "/api/v1/scans/1/events", "/static/style.css", "/sign-in"])
def test_other_hosts_are_refused_everywhere(path: str) -> None:
    served = app(hosts=LOOPBACK)
    for host in OTHERS:
        refused = Asked(served, path, host=host).now()
        assert refused.status == 400, host
        name = read_authority(host).host
        assert f"auditor serve --allowed-host {name}" in refused.body.decode().replace("&#39;", "'"), host


@pytest.mark.parametrize("hosts", [None, LOOPBACK, AllowedHosts(any_address=True)], ids=["any", "loopback", "beyond"])
def test_malformed_hosts_are_a_400_even_where_any_host_will_do(hosts: AllowedHosts | None) -> None:
    served = app(hosts=hosts)
    for host in MALFORMED:
        if host == "[::1]:":  # an empty port is well-formed, RFC 3986
            continue
        for method, path in (("GET", "/api/v1/scans"), ("POST", "/sign-in"), ("POST", "/api/v1/scans")):
            refused = Asked(served, path, method, host=host, headers=FORM).now()
            assert refused.status == 400, (host, method, path)


def test_two_hosts_are_malformed_and_none_is_of_http_1_0() -> None:
    served = app(hosts=LOOPBACK)
    assert Asked(served, "/api/v1/scans", headers=[("host", "localhost")], host="localhost").now().status == 400
    assert Asked(served, "/api/v1/scans", host=None).now().status == 200


@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "192.0.2.7"])
def test_beyond_loopback_a_server_is_known_by_this_machines_names_and_any_address(listening: str) -> None:
    served = app(hosts=allowed_hosts(listening, ["audits.example.com"]))
    name = socket.gethostname()
    for host in (name, f"{name.upper()}:8000", "localhost", "10.0.0.1", "[2001:db8::1]:80", "audits.example.com"):
        assert Asked(served, "/api/v1/scans", host=host).now().status == 200, host
    for host in ("evil.example", f"{name}.evil.example", "2130706433"):
        assert Asked(served, "/api/v1/scans", host=host).now().status == 400, host


@pytest.mark.parametrize(
    ("text", "name"),
    [("Audits.Example.com", "audits.example.com"), ("*.Example.com", "*.example.com"), ("büro.example",
    "xn--bro-hoa.example"),
     ("10.0.0.5", "10.0.0.5"), ("2001:DB8::5", "2001:db8::5"), ("[2001:db8::5]", "2001:db8::5"), ("host.", "host")],
)  # fmt: skip
def test_names_on_the_command_line(text: str, name: str) -> None:
    assert check_name(text) == name


@pytest.mark.parametrize(
    "words",
    [
        ("--allowed-host", "https://audits.example.com"), ("--allowed-host", "audits.example.com:443"),
        ("--allowed-host", ""),
        ("--allowed-host", "*"), ("--allowed-host", "*."), ("--allowed-host", "*.com.*"), ("--allowed-host", "a b"),
        ("--allowed-host", "ü" * 80), ("--trusted-proxy", "proxy.example.com"), ("--trusted-proxy", "10.0.0.0/33"),
        ("--trusted-proxy", ""), ("--trusted-proxy", "*"), ("--trusted-proxy", "10.0.0.5:80"), ("--trusted-proxy",
        "10.0.0"),
    ],
)  # fmt: skip
def test_what_is_no_name_and_no_proxy_is_one_line(words: tuple[str, str]) -> None:
    refused = run("serve", *words)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert f"{words[0]}: expected" in refused.stderr


def routes(found: Iterable[Any]) -> Iterator[tuple[str, set[str]]]:
    """All routes of an application: path and methods, also of routers within routers."""
    for route in found:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if getattr(route, "methods", None):
            yield route.path, route.methods
        elif getattr(inner, "routes", None):
            yield from routes(inner.routes)


ORIGINS = (
    None, "null", "https://elsewhere.example", "http://testserver.evil.example", "http://testserver:8001",
    "http://evil", "http://evil.example/testserver", "file://", "chrome-extension://abc",
    "testserver",
    "ftp://testserver", "",
)  # fmt: skip
BAD_ORIGINS = (
    "http://testserver@evil.example", "http://testserver, http://evil.example",
    "http://[", "http://[::1", "http://]", "https://[v1.x", "http://[not-an-address]", "http://testserver:port",
    "http://",
    "http://a b", "http://test\tserver:99999999", b"http://\xff", "https://\u2603[",
)  # fmt: skip


def test_no_route_that_writes_takes_a_form_of_another_site() -> None:
    """Walks all routes, so that one that is made later is tried, too."""
    served = app(per_minute=1_000_000)
    secret = token("admin")["Authorization"].removeprefix("Bearer ")
    writing = {(path, method) for path, methods in routes(served.routes) for method in methods - {"GET", "HEAD"}}
    paths = {path for path, _ in writing}
    assert {"/sign-in", "/sign-out", "/scans", "/scans/{number}/cancel", "/boosts", "/boosts/{number}/cancel"} <= paths
    for path, method in writing:
        plain = re.sub(r"\{[^}]*\}", "1", path)
        for origin in (*ORIGINS, *BAD_ORIGINS):
            headers = [*FORM, ("cookie", f"auditor_token={secret}")]
            headers += [] if origin is None else [("origin", origin)]
            body = b"token=" + secret.encode() + b"&source=demo&protocol=screen&model=demo:standard"
            refused = Asked(served, plain, method, headers=headers, body=body).now()
            assert refused.status == (400 if origin in BAD_ORIGINS else 403), (plain, method, origin)
            assert "set-cookie" not in refused.headers


@pytest.mark.parametrize(
    ("host", "origin", "scheme", "status"),
    [
        ("testserver", "http://testserver", "http", 303), ("testserver:8000", "http://testserver:8000", "http", 303),
        ("testserver:80", "http://testserver", "http", 303), ("[::1]:8000", "http://[::1]:8000", "http", 303),
        ("TestServer", "http://testserver", "http", 303), ("testserver", "https://testserver", "https", 303),
        ("testserver:443", "https://testserver", "https", 303), ("testserver", "https://testserver", "http", 303),
        ("testserver", "http://testserver", "https", 403), ("testserver", "http://testserver:443", "http", 403),
    ],
)  # fmt: skip
def test_own_forms_are_taken(host: str, origin: str, scheme: str, status: int) -> None:
    asked = Asked(app(), "/sign-out", "POST", host=host, headers=[*FORM, ("origin", origin)], scheme=scheme)
    assert asked.now().status == status
