"""Forms keep what was typed: without a token, by way of the sign-in page; with a typo, beside the error."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from auditor.web.pages.forms import LONGEST_FIELD, LONGEST_VALUE
from tests.web.serving import client, token

SCAN = {"source": "demo", "protocol": "standard", "match": "at-*é&", "samples": "20", "triage": ""}
BOOST = {"model": "demo:at-eps0.10", "method": "trades", "epochs": "7", "protocol": "quick"}


def signed_in(scope: str | None) -> TestClient:
    server = client()
    server.headers["Origin"] = "http://testserver"
    if scope:
        secret = token(scope)["Authorization"].removeprefix("Bearer ")
        assert server.post("/sign-in", data={"token": secret}).status_code == 303
    return server


def shown(page: str, name: str) -> str:
    """The value that a field shows."""
    chosen = re.search(rf'<select id="{name}".*?<option value="([^"]*)" selected', page)
    typed = re.search(rf'<input id="{name}"[^>]* value="([^"]*)"', page)
    found = chosen or typed
    assert found, name
    return found[1].replace("&amp;", "&")


@pytest.mark.parametrize("before", [None, "read"])
@pytest.mark.parametrize(("path", "scope", "fields"), [("/scans", "scan", SCAN), ("/boosts", "boost", BOOST)])
def test_a_form_without_a_token_survives_signing_in(
    path: str, scope: str, fields: dict[str, str], before: str | None
) -> None:
    server = signed_in(before)
    at = server.post(path, data={**fields, "token": "auditor_1_x"}).headers["location"]
    assert "auditor_1_x" not in at
    query = parse_qs(urlsplit(at).query)
    assert query["scope"] == [scope]
    page = server.get(at).text
    assert f"needs a token with the scope {scope}" in page
    secret = token(scope)["Authorization"].removeprefix("Bearer ")
    back = server.post("/sign-in", data={"token": secret, "next": query["next"][0], "scope": scope}).headers["location"]
    assert urlsplit(back).path == path
    page = server.get(back).text
    assert {name: shown(page, name) for name in fields} == fields
    assert "sign in" not in page


@pytest.mark.parametrize(
    ("path", "fields", "name", "error"),
    [
        ("/scans", SCAN | {"samples": "twenty"}, "samples", "expected a whole number, got &#39;twenty&#39;"),
        ("/scans", SCAN | {"samples": "0"}, "samples", "expected 1 or more, got &#39;0&#39;"),
        ("/scans", SCAN | {"triage": "1.5"}, "triage", "expected 1 or less, got &#39;1.5&#39;"),
        ("/scans", SCAN | {"match": "nothing-*"}, "match", "match none of"),
        ("/scans", SCAN | {"source": "local"}, "source", "expected &#39;demo&#39;, &#39;robustbench&#39;"),
        ("/boosts", BOOST | {"model": ""}, "model", "expected a value"),
        ("/boosts", BOOST | {"model": "demo:nowhere"}, "model", "no model"),
        ("/boosts", BOOST | {"epochs": "2.5"}, "epochs", "expected a whole number, got &#39;2.5&#39;"),
    ],
)  # fmt: skip
def test_an_error_stands_at_its_field_and_the_values_stay(
    path: str, fields: dict[str, str], name: str, error: str
) -> None:
    answer = signed_in("admin").post(path, data=fields)
    assert answer.status_code == 422
    assert f'aria-invalid="true" aria-describedby="{name}-error"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    found = re.search(rf'<p class="error" id="{name}-error">(.*?)</p>', answer.text)
    assert found
    assert error in found[1]
    kept = {key: value for key, value in fields.items() if key != "source" or value == "demo"}
    assert {key: shown(answer.text, key) for key in kept} == kept


def test_all_errors_of_a_form_are_named_at_once() -> None:
    answer = signed_in("scan").post("/scans", data=SCAN | {"samples": "x", "triage": "y"})
    assert answer.text.count('aria-invalid="true"') == 2
    assert "2 fields need a correction" in answer.text


@pytest.mark.parametrize(
    ("value", "status"),
    [("x" * (LONGEST_FIELD + 1), 422), ("x" * (LONGEST_VALUE + 1), 303), ("a\0b", 422), ("x" * LONGEST_VALUE, 303)],
    ids=["too long", "longer than an address", "NUL", "long"],
)
def test_what_no_field_holds_is_refused(value: str, status: int) -> None:
    answer = signed_in(None).post("/scans", data={"match": value, **dict.fromkeys("abc", "y" * LONGEST_VALUE)})
    assert answer.status_code == status
    assert len(answer.headers.get("location", "")) < 16_000


def test_a_value_that_is_too_long_for_its_field_stays_in_the_form() -> None:
    names = ",".join(f"model-{number:03d}-with-a-name" for number in range(250))
    answer = signed_in("scan").post("/scans", data=SCAN | {"models": names, "match": "m" * 3000})
    assert answer.status_code == 422
    assert "model-249-with-a-name" in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_files_and_odd_bodies_are_no_crash() -> None:
    server = signed_in("scan")
    assert server.post("/scans", files={"match": ("x.txt", b"x")}).status_code == 400
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=nonsense"}
    body = b'--x\r\nContent-Disposition: form-data; name="match"\r\n\r\n\xff\r\n--x--\r\n'
    assert server.post("/scans", content=body, headers=headers).status_code == 422
    assert server.post("/scans", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 422


def test_cancelling_without_a_token_leads_back_to_the_object() -> None:
    at = signed_in(None).post("/scans/7/cancel").headers["location"]
    assert at == "/sign-in?next=/scans/7&scope=scan"
