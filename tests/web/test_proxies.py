"""Forwarded headers are believed of proxies that were named, and of nobody else."""

import itertools

import pytest
from fastapi import FastAPI

from auditor.web.security.hosts import check_proxies
from tests.web.asgi import FORM, Asked, app
from tests.web.serving import token

PROXIED = [
    ("x-forwarded-for", "198.51.100.7"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=198.51.100.8;proto=https"),
]


NUMBERS = itertools.count()


def forwarded(addresses: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", addresses)]


def sign_in(served: FastAPI, client: str, headers: list[tuple[str, str]], origin: str = "http://testserver") -> Asked:
    secret = token("read", f"t{next(NUMBERS)}")["Authorization"].removeprefix("Bearer ")
    given = [*FORM, ("origin", origin), *headers]
    return Asked(served, "/sign-in", "POST", client=client, headers=given, body=b"token=" + secret.encode()).now()


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "10.0.0.5", "192.0.2.1"])
def test_forwarded_headers_of_nobody_are_believed_by_default(client: str) -> None:
    served = app(per_minute=20)
    assert "secure" not in sign_in(served, client, PROXIED).headers["set-cookie"].lower()
    statuses = [
        Asked(served, "/api/v1/scans", client=client, headers=forwarded(f"198.51.100.{number}")).now().status
        for number in range(60)
    ]
    assert statuses == [200] * 19 + [429] * 41


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["10.0.0.0/24"], "10.0.0.77"),
        (["10.0.0.5"], "::ffff:10.0.0.5"),
        (["fd00::/8"], "fd12::1"),
    ],
)
def test_a_trusted_proxy_is_believed_and_nobody_else(proxies: list[str], client: str) -> None:
    served = app(per_minute=20, trusted_proxies=check_proxies(proxies))
    cookie = sign_in(served, client, PROXIED, "https://testserver").headers["set-cookie"].lower()
    assert "secure" in cookie
    for other in ("10.0.1.5", "192.0.2.9", "::2"):
        assert "secure" not in sign_in(served, other, PROXIED).headers["set-cookie"].lower()
    mine = forwarded("203.0.113.5")
    statuses = [Asked(served, "/api/v1/scans", client=client, headers=mine).now().status for _ in range(30)]
    assert statuses == [200] * 20 + [429] * 10, "by the client's address"
    assert Asked(served, "/api/v1/scans", client=client, headers=forwarded("203.0.113.6")).now().status == 200
    spoofed = forwarded("1.2.3.4, 203.0.113.5")
    assert Asked(served, "/api/v1/scans", client=client, headers=spoofed).now().status == 429, "what it wrote itself"


def test_behind_a_tls_proxy_that_nobody_named_the_cookie_is_secure_as_the_browser_says_https() -> None:
    assert "secure" in sign_in(app(), "10.0.0.9", [], "https://testserver").headers["set-cookie"].lower()
    assert "secure" not in sign_in(app(), "10.0.0.8", [], "http://testserver").headers["set-cookie"].lower()


@pytest.mark.long
@pytest.mark.parametrize(
    "value", ["", ",", "unknown", "[::1", "a" * 5000, b"\xff", "1.2.3.4:99999999999", ", , 8.8.8.8,"]
)
def test_malformed_forwarded_headers_of_a_trusted_proxy(value: str | bytes) -> None:
    served = app(trusted_proxies=check_proxies(["10.0.0.0/8"]))
    for name in ("x-forwarded-for", "x-forwarded-proto", "forwarded", "x-forwarded-host"):
        assert Asked(served, "/api/v1/scans", client="10.0.0.5", headers=[(name, value)]).now().status == 200
