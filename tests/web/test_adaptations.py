"""Adaptations over HTTP and as pages: listed, shown, followed and cancelled; nothing tells paths of this machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.cli.adapt import AdaptOptions, _make_request, command
from auditor.cli.options import parse_options
from auditor.config import settings
from auditor.records.adaptations import AdaptRequest, Tuning
from auditor.records.assignments import CIFAR100
from tests.factories.adaptations import REQUEST, adapted
from tests.factories.audits import audited
from tests.web.serving import boosted, client, token


def test_the_list_comes_in_pages_without_boosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path))
    settings.cache_clear()
    numbers = [adapted(), adapted(state="failed"), adapted(state="queued")]
    boosted(audited("weak", 10), audited("strong", 80))
    server, found, cursor = client(), [], ""
    while cursor is not None:
        answer = server.get(f"/api/v1/adaptations?limit=2{cursor and f'&cursor={cursor}'}").json()
        found += [row["id"] for row in answer["adaptations"]]
        cursor = answer["next"]
    assert found == numbers[::-1]
    failed = server.get("/api/v1/adaptations?state=failed").json()["adaptations"]
    assert [(row["id"], row["reason"]) for row in failed] == [(2, "the images are missing")]
    boosts = server.get("/api/v1/boosts?limit=1").json()
    assert server.get(f"/api/v1/adaptations?cursor={boosts['next'] or 'x'}").status_code == 422


def test_one_adaptation_has_its_request_and_scores_and_no_paths() -> None:
    answer = client().get(f"/api/v1/adaptations/{adapted()}")
    assert "/private" not in answer.text
    row = answer.json()
    assert (row["state"], row["model"], row["request"]["shots"]) == ("done", "robust", [0, 1, 20])
    assert len(row["result"]["scores"]) == 6
    assert row["result"]["scores"][0]["baseline"] is None
    assert client().get("/api/v1/adaptations/99").status_code == 404


def test_events_end_with_the_state() -> None:
    with client().stream("GET", f"/api/v1/adaptations/{adapted()}/events") as events:
        lines = list(events.iter_lines())
    kinds = [line.partition(": ")[2] for line in lines if line.startswith("event:")]
    assert kinds == ["adaptation", "end"]
    last = [line.partition(": ")[2] for line in lines if line.startswith("data:")][-1]
    assert json.loads(last) == {"adaptation": 1, "state": "done"}


@pytest.mark.parametrize(
    ("scope", "status"), [(None, 401), ("read", 403), ("scan", 403), ("boost", 202), ("admin", 202)]
)
def test_cancelling_over_the_api_needs_the_scope_boost(scope: str | None, status: int) -> None:
    number = adapted(state="queued")
    answer = client().post(f"/api/v1/adaptations/{number}/cancel", headers=token(scope) if scope else {})
    assert answer.status_code == status
    if status == 202:
        assert (answer.json()["state"], answer.json()["reason"]) == (
            "cancelled",
            f"cancelled over HTTP by the token {scope}",
        )


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        AdaptRequest(assignment=CIFAR100, start="standard", source_images=500, norm="L2", eps=1.5, protocol="quick"),
        AdaptRequest(
            start="demo:standard", tuning=Tuning(layers="all", head="fresh", beta=0.0, lr=0.1, steps=7), shots=(3,)
        ),
    ],
)
def test_the_command_asks_for_the_same_adaptation(request_: AdaptRequest) -> None:
    options = parse_options(AdaptOptions, command.make_context("adapt", request_.to_command()[1:]).params)
    assert replace(_make_request(options), recipe=None) == request_
