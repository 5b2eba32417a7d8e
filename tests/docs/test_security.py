"""SECURITY.md: each claim names a test that exists; the claims that no other test makes are tested here."""

import re

import pytest

from tests.docs.blocks import ROOT
from tests.factories.audits import audited
from tests.web.serving import client

SECURITY = ROOT / "SECURITY.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CLAIMS = [
    row
    for section in re.split(r"^## ", SECURITY.read_text(), flags=re.MULTILINE)
    if re.match(r"A hostile|Secrets", section)
    for row in re.findall(r"^\| (?!---).*\|$", section, re.MULTILINE)[1:]
]
MARKUP = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def test_every_hostile_party_has_claims() -> None:
    headings = re.findall(r"^## A hostile (.*)$", SECURITY.read_text(), re.MULTILINE)
    for party in ("checkpoint", "zoo folder", "data set", "web client", "broker"):
        assert party in headings
    assert len(CLAIMS) > 30


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.split("|")[1].strip())
def test_every_claim_names_a_test(claim: str) -> None:
    named = NAMED.findall(claim.rstrip("|").split(" | ")[-1])
    assert len(named) == 1, claim
    file, function = named[0]
    assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), claim


@pytest.mark.long
def test_names_and_reasons_are_no_markup() -> None:
    audited(MARKUP, 50)
    with client() as server:
        shown = 0
        for path in (
            "/",
            "/scans",
            "/scans/1",
            "/audits/1",
            "/zoo",
            f"/models/demo:{MARKUP}",
            f"/compare?model=demo:{MARKUP}",
        ):
            text = server.get(path).text
            assert "<script>alert" not in text, path
            assert "<img src=x" not in text, path
            shown += "&lt;script&gt;alert(1)" in text
    assert shown >= 3
