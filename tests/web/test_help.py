"""The help page explains every flag and term; a missing page says what is near."""

import re
from pathlib import Path

import pytest

from auditor.results.flag_meanings import FLAGS
from auditor.results.terms import TERMS
from auditor.web.render import environment
from tests.factories.audits import audited
from tests.web.serving import client

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.long
def test_every_flag_and_term_has_an_anchor() -> None:
    page = client().get("/help").text
    for anchor in [*TERMS, *(f"flag-{name}" for name in FLAGS)]:
        assert page.count(f'id="{anchor}"') == 1, anchor
    for texts in FLAGS.values():
        assert texts.meaning.endswith(".")
        assert texts.advice.endswith(".")


def test_the_flags_are_those_of_the_documentation() -> None:
    table = (DOCS / "attacks.md").read_text().partition("## Flags")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\|(.*?)\|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(FLAGS)


def test_flags_and_terms_link_to_their_meaning() -> None:
    parts = environment().get_template("parts.html").module
    assert 'href="/help#flag-zero_gradients"' in parts.flag("zero_gradients")  # type: ignore[attr-defined]
    assert 'href="/help#gap"' in parts.term("gap")  # type: ignore[attr-defined]
    assert "title" not in parts.flag("one_of_an_older_version")  # type: ignore[attr-defined]


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/audits/99", "/audits/1"), ("/scans/99", "/scans/1"), ("/scan/1", "/scans/1"), ("/boosts/9", "/boosts"),
        ("/models/demo:at-eps0.1", "/models/demo%3Aat-eps0.10"), ("/models/eps0", "/models/demo%3Aat-eps0.10"),
        ("/hlep", "/help"), ("/nothing", "/"),
    ],
)  # fmt: skip
def test_a_missing_page_names_what_is_near(path: str, link: str) -> None:
    audited("at-eps0.10", 50)
    answer = client().get(path)
    assert answer.status_code == 404
    assert f'<a href="{link}">' in answer.text
    assert 'name="match"' in answer.text


def test_a_closed_server_tells_strangers_no_names() -> None:
    audited("at-eps0.10", 50)
    answer = client(open_reading=False).get("/audit/at-eps0.1")
    assert answer.status_code == 404
    assert "eps0.10" not in answer.text
    assert 'name="match"' not in answer.text


@pytest.mark.long
def test_an_audit_links_its_numbers_and_flags() -> None:
    number = audited("at-eps0.10", 50, flags=("zero_gradients",))
    page = client().get(f"/audits/{number}").text
    for anchor in ("gap", "p-value", "screening-score", "effective-rank", "robust-accuracy", "flag-zero_gradients"):
        assert f'href="/help#{anchor}"' in page, anchor
