"""Signing in: every page says who is signed in, and leads back to where the reader was, with the form filled."""

from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from auditor.web.security.access import local_address
from tests.web.serving import client, token

PAGES = ("/", "/zoo", "/compare", "/scans", "/boosts", "/schedules", "/docs", "/help", "/nowhere")
HOSTILE = (
    "", "https://evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "/\t/evil.example", "/\n/evil.example", "/\r\nSet-Cookie: a=b", "\t//evil.example", " //evil.example",
    "javascript:alert(1)", "data:text/html,x", "evil.example", "scans", "?next=//evil.example", "#x", "/a\\..\\b",
    "http:/evil.example", "/\0", "/é", "/\u2028/x", "/\x7f", "/" + "x" * 5000, "/sign-in?next=/scans", "/sign-out",
)  # fmt: skip


def secret(scope: str) -> str:
    return token(scope)["Authorization"].removeprefix("Bearer ")


def browser(**options: object) -> TestClient:
    """A client that sends forms as a browser does."""
    made = client(**options)
    made.headers["Origin"] = "http://testserver"
    return made


@pytest.mark.long
@pytest.mark.parametrize("address", HOSTILE)
def test_no_address_leads_to_another_site(address: str) -> None:
    assert local_address(address) == "/"
    answer = browser().post("/sign-in", data={"token": secret("read"), "next": address})
    assert answer.status_code in ((303, 422) if len(address) < 8000 else (422,))
    if answer.status_code == 303:
        assert answer.headers["location"] == "/"
    assert "evil" not in browser().get("/sign-in", params={"next": address.replace("\0", "")}).text


@pytest.mark.parametrize("address", ["/", "/scans", "/scans?match=at-%2A&samples=1,2", "/audits/7#only", "/models/a:b"])
def test_addresses_of_this_server_are_kept(address: str) -> None:
    answer = browser().post("/sign-in", data={"token": secret("read"), "next": address})
    assert (answer.status_code, answer.headers["location"]) == (303, address)


@pytest.mark.long
@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_who_is_signed_in(path: str) -> None:
    server = browser()
    text = server.get(path).text
    assert "Sign out" not in text
    assert f'href="/sign-in?next={path}"' in text
    server.post("/sign-in", data={"token": secret("scan")})
    text = server.get(path).text
    assert "scan (scan)" in text
    assert "Sign out" in text
    assert "/sign-in?next" not in text or path in ("/boosts", "/schedules")  # which need another scope


def test_a_closed_server_leads_back_to_the_page_with_its_query() -> None:
    closed = browser(open_reading=False)
    at = closed.get("/?match=at-*&sort=-gap").headers["location"]
    (back,) = parse_qs(urlsplit(at).query)["next"]
    assert back == "/?match=at-*&sort=-gap"
    assert closed.post("/sign-in", data={"token": secret("read"), "next": back}).headers["location"] == back


def test_only_admins_see_the_tokens_page_in_the_navigation() -> None:
    for scope, shown in (("admin", True), ("boost", False)):
        server = browser()
        server.post("/sign-in", data={"token": secret(scope)})
        assert ('href="/tokens"' in server.get("/").text) is shown


def test_a_token_of_a_smaller_scope_is_refused_with_the_reason() -> None:
    server = browser()
    answer = server.post("/sign-in", data={"token": secret("read"), "next": "/scans?match=a", "scope": "scan"})
    assert answer.status_code == 403
    assert "the scope read; this needs the scope scan or admin" in answer.text
    assert 'value="/scans?match=a"' in answer.text
    assert "set-cookie" not in answer.headers
