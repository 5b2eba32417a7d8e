"""``auditor report``: one file, complete, true to the database, and pointing nowhere."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Clustering, Verdicts
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.records import REQUEST, done_audit, entry, record
from tests.web.serving import client


class Page(HTMLParser):
    """Its links, ids and text; and whether every element that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.ids, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] for name in ("href", "src", "action", "data", "poster") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag not in ("meta", "link", "br", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def report(*arguments: object) -> str:
    result = run("report", *arguments, "-o", "report.html", "--force")
    assert result.exit_code == 0, result.stderr
    return Path("report.html").read_text()


@pytest.mark.long
def test_a_real_scan_is_one_file_that_points_nowhere() -> None:
    names = ("at-eps0.10", "standard", "saturated", "trades-eps0.10", "noise")
    chosen = [part for name in names for part in ("--model", name)]
    assert run("scan", "demo", "--samples", "40", *chosen).exit_code == 0
    text = report(1)
    page = Page(text)
    assert not page.open
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", text)
    words = " ".join(page.words)
    for row in json.loads(run("results", "list", "--format", "json").stdout):
        assert row["weights_sha256"] in words
        value = f"{row['gap']:.2f}" if abs(row["gap"]) >= 0.1 else f"{row['gap']:.2g}"
        assert f"{row['model']}\ngap {value.replace('-', '−')}\n" in text
        assert f"{100 * row['robust_low']:.1f}–{100 * row['robust_high']:.1f}" in words
    assert "Spearman's ρ of gap and robust accuracy, all unflagged models" in words
    assert "zero_gradients" in words
    assert text.count('alt="dress, linearized network"') == len(names)
    assert "auditor scan demo --model at-eps0.10 --protocol quick --samples 40 --norm Linf --eps 0.1" in words


@pytest.mark.long
def test_the_command_that_is_shown_makes_the_audit_again() -> None:
    assert run("scan", "demo", "--samples", "20", "--model", "standard", "--linearization", "fold").exit_code == 0
    (command,) = re.findall(r"<code>auditor (.*)</code>", report(1))
    again = run(*command.split())
    assert again.exit_code == 0, again.stderr
    rows = json.loads(run("results", "list", "--history", "--format", "json").stdout)
    assert len(rows) == 2
    assert len({row["identity"] for row in rows}) == 1


@pytest.mark.long
def test_what_failed_is_said_and_hostile_names_do_no_harm() -> None:
    audited("<script>alert(1)</script>", 50)
    store = Store(open_database(settings().database_url))
    scan_id, jobs = store.create_scan("demo", REQUEST, [entry("bad"), entry("later")])
    store.fail(jobs[0].audit_id, store.claim(jobs[0].audit_id), "<b>no</b> such weights")
    text = report(1)
    assert "<script>alert" not in text
    assert "demo:&lt;script&gt;alert(1)&lt;/script&gt;" in text
    text = report(scan_id)
    assert "&lt;b&gt;no&lt;/b&gt; such weights" in text
    assert "1 model was without a result" in text


NOBODY = Verdicts(
    indices=np.zeros(0, np.int64), correct=np.zeros(0, bool), survived=np.zeros(0, bool),
    labels=np.zeros(0, np.int64), predicted=np.zeros(0, np.int64), broken_at=np.zeros(0, np.int64),
)  # fmt: skip


@pytest.mark.parametrize(("kinds", "verdicts"), [((), None), (("weights", "deflated", "features"), NOBODY)])
def test_an_audit_without_classes_has_a_section_without_heatmaps(
    kinds: tuple[str, ...], verdicts: Verdicts | None
) -> None:
    (part,) = record().clusterings
    scores = replace(part.scores, leaf_order=())
    empty = tuple(Clustering(kind=kind, scores=scores, matrix=np.zeros((0, 0))) for kind in kinds)
    store = Store(open_database(settings().database_url))
    number = done_audit(store, classes=(), superclasses=(), clusterings=empty, verdicts=verdicts)
    text = report(1)
    page = Page(text)
    assert not page.open
    assert f"audit-{number}" in page.ids
    assert " classes in dendrogram order" not in text
    served = client()
    assert served.get(f"/audits/{number}").status_code == 200
    assert served.get(f"/audits/{number}/templates").status_code == 200
    plot = run("results", "plot", "demo:a", "-o", "plot.png")
    assert (plot.exit_code, "nothing to draw of demo:a" in plot.stderr) == (2, True)
    for kind in kinds:
        found = served.get(f"/api/v1/results/{number}/matrices/{kind}/picture")
        assert found.status_code == 404
        assert found.json()["detail"] == f"matrix {kind} of result {number} has no entries: the audit has no classes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, "-o", "report.html"), "there is no scan 7"),
        ((1, "-o", "there.html"), "there.html already exists; add --force"),
        ((1, "-o", "no/where/report.html"), "not a folder"),
        ((1, "-o", "report.html"), "scan 1 has no result yet"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(arguments: tuple, message: str) -> None:
    Path("there.html").write_text("mine")
    Store(open_database(settings().database_url)).create_scan("demo", REQUEST, [entry("later")])
    result = run("report", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert Path("there.html").read_text() == "mine"
    assert not Path("report.html").exists()
