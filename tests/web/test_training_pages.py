"""The pages of boosts, checkpoints and adaptations."""

import html
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from auditor.config import settings
from auditor.db.session import open_database
from tests.factories.adaptations import adapted
from tests.factories.audits import audited
from tests.web.serving import boosted, client, token


@pytest.fixture(autouse=True)
def _checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()


def signed_in(scope: str) -> TestClient:
    server = client()
    server.headers["Origin"] = "http://testserver"
    server.cookies.set("auditor_token", token(scope)["Authorization"].removeprefix("Bearer "))
    return server


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</(td|th|dt|dd|p)>", " ", page))).split())


@pytest.mark.long
def test_a_checkpoint_proves_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    boosted(audited("standard", 10, flags=("zero_gradients",)), audited("better", 80))
    page = client().get("/checkpoints/1")
    assert page.status_code == 200
    words = text_of(page.text)
    for part in (
        "Significant gain: against demo:standard",
        "robust accuracy, % (95 % interval) 10.0",
        "flags zero_gradients none",
        "Of 20 images in both audits, 0 were robust only before, and 12 only after.",
        "lineage demo:standard → checkpoint:1",
        "auditor checkpoints get 1 --out checkpoint-1",
        "Sign in to download the weights: this needs a token of any scope",
    ):
        assert part in words, part
    digest = client().get("/api/v1/checkpoints/1").json()["file_sha256"]
    assert digest in words
    assert 'href="/compare?a=demo%3Astandard@1&amp;b=checkpoint%3A1@2"' in page.text
    assert page.text.count('<figure class="plot') == 3
    assert 'href="/api/v1/checkpoints/1/weights"' in signed_in("read").get("/checkpoints/1").text
    card = client().get("/checkpoints/1/card")
    assert "SHA-256 of these weights" in card.text
    assert client().get("/checkpoints/9").status_code == client().get("/checkpoints/9/card").status_code == 404
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", "/nowhere/secret")
    settings.cache_clear()
    gone = client().get("/checkpoints/1/card")
    assert (gone.status_code, "secret" in gone.text) == (404, False)
    assert "the files of checkpoint 1 are not on this machine" in gone.text


@pytest.mark.long
def test_checkpoints_without_audits_or_files_are_shown_as_what_they_are(tmp_path: Path) -> None:
    boosted(audited("standard", 10), audited("better", 80))
    with open_database(settings().database_url).begin() as connection:
        connection.execute(text("UPDATE checkpoints SET verdict = 'not audited', before_audit_id = NULL, n = NULL"))
    (tmp_path / "checkpoints/1/model.safetensors").unlink()
    assert "not on this machine" in client().get("/checkpoints").text
    page = text_of(client().get("/checkpoints/1").text)
    assert "The weights are not stored on this machine." in page
    assert "clean accuracy, % – 100.0" in page


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "link"),
    [("/checkpoints", "Older checkpoints"), ("/adaptations", "Older adaptations"), ("/boosts", "Older boosts")],
)
def test_long_lists_come_in_pages(path: str, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("checkpoints", "adaptations", "boosts"):
        monkeypatch.setattr(f"auditor.web.pages.{module}.ROWS", 2)
    before, after = audited("standard", 10), audited("better", 80)
    for _ in range(3):
        adapted() if path == "/adaptations" else boosted(before, after)
    server, address, found = client(), path, []
    while address:
        page = server.get(address).text
        found += re.findall(rf'<a href="{path}/(\d+)">', page)
        following = re.search(rf'<a href="([^"]+)">{link}', page)
        address = path + following[1] if following else ""
    assert found == ["3", "2", "1"]
    assert server.get(f"{path}?cursor=x").status_code == 422


@pytest.mark.long
def test_an_adaptation_shows_its_classes_scores_and_command() -> None:
    adapted(state="failed")
    adapted()
    rows = text_of(client().get("/adaptations").text)
    assert "2 robust fashion_mnist tops: T-shirt/top, pullover, coat → shirt, dressfootwear" in rows
    assert "82.0 / 72.0 with 20 images" in rows
    assert "failed: the images are missing" in rows
    page = client().get("/adaptations/2").text
    words = text_of(page)
    assert "0 20 80.0 70.0 66.0–74.0 70.0 / 60.0 500" in words
    assert "0 0 60.0 50.0 46.0–54.0 – 500" in words
    assert "Note: a note about <the> data" in words
    assert "auditor adapt robust --dataset=fashion_mnist '--superclasses=tops | footwear'" in words
    assert 'aria-label="superclass accuracy, %, by images a class, mean of 2 seeds: 0 images a class' in page
    assert "auditor trainings resume 1" in client().get("/adaptations/1").text
    assert "/private" not in page
    assert client().get("/adaptations/9").status_code == 404


def test_an_adaptation_of_another_version_is_no_crash() -> None:
    adapted()
    with open_database(settings().database_url).begin() as connection:
        connection.execute(text('UPDATE trainings SET request = \'{"adapt": {"shots": "few"}}\''))
    for path in ("/adaptations", "/adaptations/1"):
        page = client().get(path)
        assert (page.status_code, "another version of auditor stored this" in page.text) == (200, True)


def test_a_running_adaptation_is_followed_and_cancelled() -> None:
    adapted(state="running")
    server = signed_in("boost")
    page = server.get("/adaptations/1").text
    assert 'hx-get="/adaptations/1"' in page
    assert server.post("/adaptations/1/cancel").headers["location"] == "/adaptations/1"
    assert "cancelling" in server.get("/adaptations/1").text


@pytest.mark.long
def test_a_boost_that_cannot_be_resumed_says_why_on_its_page() -> None:
    boosted(audited("standard", 10), audited("better", 80))
    server = signed_in("boost")
    assert "Resume" not in server.get("/boosts/1").text
    answer = server.post("/boosts/1/resume")
    assert (answer.status_code, "stored by another version of auditor" in answer.text) == (422, True)
    assert "<h1>Boost 1 of demo:standard</h1>" in answer.text
    assert server.post("/boosts/9/resume").status_code == 404
    with open_database(settings().database_url).begin() as connection:
        connection.execute(text("UPDATE trainings SET state = 'cancelled', reason = 'by hand'"))
    page = server.get("/boosts/1").text
    assert "Resume from the last saved epoch" in page
    assert "cancelled: by hand" in page
    assert client().post("/boosts/1/resume", headers={"Origin": "http://testserver"}).headers["location"] == (
        "/sign-in?next=/boosts/1&scope=boost"
    )
