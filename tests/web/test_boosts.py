"""Boosts over HTTP: requested, followed, cancelled, resumed; on the server's own thread and by the queue."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from auditor.cli import main
from auditor.cli.boost import command
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.trainings import load_training
from auditor.trainings.boost import BoostRequest
from auditor.web.build_requests import build_boost_request
from auditor.web.shapes.requests import BoostBody
from tests.factories import garden
from tests.web.serving import client, few_images, token

ASKED = {"model": "demo:standard", "epochs": 1, "steps": 2, "protocol": "quick", "samples": 20, "batch_size": 50}


@pytest.fixture
def _few_images(tmp_path: Path, fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_images(tmp_path, fashion_mnist, monkeypatch)


def ended(server: TestClient, number: int) -> dict:
    deadline = time.monotonic() + 120
    while True:
        boost = server.get(f"/api/v1/boosts/{number}").json()
        if boost["state"] not in ("queued", "running", "cancelling"):
            return boost
        assert time.monotonic() < deadline, boost
        time.sleep(0.2)


@pytest.mark.long
@pytest.mark.usefixtures("_few_images")
def test_a_boost_is_asked_for_followed_and_its_weights_downloaded(tmp_path: Path) -> None:
    header = token("boost")
    with client() as server:
        answer = server.post("/api/v1/boosts", json=ASKED, headers=header)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == "/api/v1/boosts/1"
        assert str(tmp_path) not in answer.text
        with server.stream("GET", "/api/v1/boosts/1/events") as events:
            lines = list(events.iter_lines())
        kinds = [line.partition(": ")[2] for line in lines if line.startswith("event:")]
        assert (kinds[-1], set(kinds)) == ("end", {"boost", "end"})
        told = [json.loads(line.partition(": ")[2]) for line in lines if line.startswith("data:")]
        assert told[-1] == {"boost": 1, "state": "done"}, told[-2]["reason"]
        assert [score["number"] for score in told[-2]["history"]] == [0, 1]
        checkpoint = server.get("/api/v1/checkpoints/1").json()
        assert checkpoint["comparison"]["n"] == 20
        weights = server.get("/api/v1/checkpoints/1/weights", headers=header)
        assert weights.headers["etag"] == f'"{checkpoint["file_sha256"]}"'
        assert server.get("/boosts/1").status_code == 200


@pytest.mark.long
@pytest.mark.usefixtures("_few_images")
def test_a_boost_is_cancelled_gone_on_with_and_ended_with_the_server() -> None:
    header = token("boost")
    with client() as server:
        for number in (1, 2):
            asked = ASKED | {"epochs": 500, "seed": number}
            assert server.post("/api/v1/boosts", json=asked, headers=header).json()["id"] == number
        assert server.post("/api/v1/boosts/2/resume", headers=header).status_code == 409  # it is queued
        for number in (2, 1):
            assert server.post(f"/api/v1/boosts/{number}/cancel", headers=header).status_code == 202
            boost = ended(server, number)
            assert (boost["state"], boost["reason"]) == ("cancelled", "cancelled over HTTP by the token boost")
        assert server.post("/api/v1/boosts/2/resume", headers=header).json()["state"] in ("queued", "running")
    found = load_training(open_database(settings().database_url), 2)
    assert (found.state, found.reason) == (
        "cancelled", "the server stopped; resume with `auditor trainings resume 2`",
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "local:plant"}, "model"),
        ({"model": "demo:nothing"}, "nothing"),
        ({"model": "checkpoint:9"}, "no checkpoint"),
        ({"data": "/etc"}, "data"),
        ({"test_data": "/etc"}, "test_data"),
        ({"trust_code": True}, "trust_code"),
        ({"protocol": "screen"}, "protocol"),
        ({"eps": 1.5}, "radius"),
        ({"epochs": 0}, "epochs"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_what_may_not_be_asked_for(asked: dict, words: str) -> None:
    answer = client().post("/api/v1/boosts", json=ASKED | asked, headers=token("admin"))
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert client().get("/api/v1/boosts").json() == {"boosts": [], "next": None}


@pytest.mark.long
def test_a_boost_of_a_zoo_with_code_is_not_gone_on_with_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for at the command line, where its code was trusted, and failed there for want of its images."""
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()
    zoo = garden.make(tmp_path / "zoo")
    (zoo / "train.npz").write_bytes(b"broken")
    assert CliRunner().invoke(main, list(map(str, garden.boost(zoo)))).exit_code == 1
    answer = client().post("/api/v1/boosts/1/resume", headers=token("admin"))
    assert (answer.status_code, "cannot be resumed over HTTP" in answer.json()["detail"]) == (422, True)


@pytest.mark.long
@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("scan", 403), ("boost", 404), ("admin", 404)])
def test_scopes(scope: str, status: int) -> None:
    for path in ("cancel", "resume"):
        assert client().post(f"/api/v1/boosts/7/{path}").status_code == 401
        assert client().post(f"/api/v1/boosts/7/{path}", headers=token(scope, path + scope)).status_code == status


def test_by_default_the_api_asks_for_what_the_command_asks_for() -> None:
    """The boost that a worker would get from either, but for the token of its folder."""
    from auditor.cli.boost import BoostOptions, make_request
    from auditor.cli.model_filters import find_entry
    from auditor.cli.options import parse_options

    options = parse_options(BoostOptions, command.make_context("boost", ["demo:at-eps0.10"]).params)
    entry = find_entry("demo:at-eps0.10", None, trust_code=False)
    typed = make_request(entry, options, "here").to_json()
    sent = build_boost_request(BoostBody(model="demo:at-eps0.10"))[1].to_json()
    assert typed.pop("owner") != sent.pop("owner")
    assert sent == typed
    assert BoostRequest.from_json(sent | {"owner": "x"}).to_json() == sent | {"owner": "x"}
