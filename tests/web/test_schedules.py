"""Schedules over HTTP: made and changed as the command line makes them, by admins."""

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from auditor.cli.scan import command
from auditor.config import settings as config
from auditor.db.schedules import add_schedule, enable_schedule
from auditor.db.session import open_database
from auditor.web.shapes.requests import ScanBody
from tests.factories.command import run
from tests.web.serving import client, token

NIGHTLY = {"cron": "0 2 * * *", "scan": {"source": "demo", "match": "at-*", "samples": 64, "force": True}}


def test_a_schedule_is_made_changed_and_removed() -> None:
    server, header = client(), token("admin")
    made = server.put("/api/v1/schedules/nightly", json=NIGHTLY, headers=header)
    assert made.status_code == 200, made.text
    words = ["auditor", "scan", "demo", "--match=at-*", "--samples=64", "--force"]
    assert made.json()["command"] == words
    triage = NIGHTLY | {"scan": {"source": "demo", "triage": 0.1}}
    row = server.put("/api/v1/schedules/nightly", json=triage, headers=header).json()
    assert row["command"] == ["auditor", "scan", "demo", "--triage=0.1"]
    changed = NIGHTLY | {"cron": "30 3 * * 1", "enabled": False}
    row = server.put("/api/v1/schedules/nightly", json=changed, headers=header).json()
    assert (row["cron"], row["enabled"], row["next"]) == ("30 3 * * 1", False, None)
    assert server.get("/api/v1/schedules").json()["schedules"] == [row]
    assert server.delete("/api/v1/schedules/nightly", headers=header).status_code == 204
    assert server.delete("/api/v1/schedules/nightly", headers=header).status_code == 404
    assert server.get("/api/v1/schedules").json()["schedules"] == []


@pytest.mark.long
def test_what_is_scheduled_over_http_runs() -> None:
    server = client()
    scan = {"source": "demo", "models": ["standard"], "samples": 10}
    assert server.put("/api/v1/schedules/now", json=NIGHTLY | {"scan": scan}, headers=token("admin")).is_success
    assert run("schedule", "run-now", "now").exit_code == 0
    (row,) = server.get("/api/v1/results").json()["results"]
    assert (row["model"], row["n"]) == ("demo:standard", 10)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("nightly", NIGHTLY | {"cron": "61 * * * *"}, "five fields"),
        ("nightly", {"cron": "0 2 * * *"}, "scan"),
        ("nightly", NIGHTLY | {"scan": {"source": "local"}}, "source"),
        ("nightly", NIGHTLY | {"scan": {"source": "demo", "match": "zzz*"}}, "match none of"),
        ("nightly", NIGHTLY | {"scan": {"source": "demo", "stop_at": 0.4}}, "stop_at cannot be scheduled"),
        (
            "nightly",
            NIGHTLY | {"scan": {"source": "demo", "threat_model": "corruptions", "curve": True}},
            "--curve has no",
        ),
        ("nightly", NIGHTLY | {"scan": {"source": "demo", "norm": "L2"}}, "--norm L2 needs --eps"),
        ("--help", NIGHTLY, "name"),
        ("a" * 101, NIGHTLY, "name"),
    ],
)
def test_what_may_not_be_scheduled(name: str, asked: dict, words: str) -> None:
    answer = client().put(f"/api/v1/schedules/{name}", json=asked, headers=token("admin"))
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert client().get("/api/v1/schedules").json() == {"schedules": []}


@pytest.mark.parametrize(("scope", "status"), [(None, 401), ("read", 403), ("boost", 403)])
def test_scopes(scope: str | None, status: int) -> None:
    header = token(scope) if scope else {}
    assert client().put("/api/v1/schedules/x", json=NIGHTLY, headers=header).status_code == status
    assert client().delete("/api/v1/schedules/x", headers=header).status_code == status


@pytest.mark.long
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("values", [{"cron": "<every> night"}, {"cron": "9" * 5000}, {"command": "null"}])
def test_a_stored_schedule_that_cannot_be_read_is_shown_with_what_is_wrong(values: dict, enabled: bool) -> None:
    engine = open_database(config().database_url)
    for name in ("bad", "good"):
        add_schedule(engine, name, "0 2 * * *", ("scan", "demo"))
    enable_schedule(engine, "bad", enabled)
    ((column, value),) = values.items()
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE schedules SET {column} = :value WHERE name = 'bad'"), {"value": value})
    answer = client().get("/api/v1/schedules")
    assert answer.status_code == 200, answer.text
    bad, good = answer.json()["schedules"]
    assert (good["problem"], bad["next"], bad["enabled"]) == (None, None, enabled)
    assert good["next"] is not None
    assert ("no due times" if column == "cron" else "not a list of words") in bad["problem"]
    page = client().get("/schedules")
    assert page.status_code == 200
    assert bad["problem"] in html.unescape(page.text)
    assert "<every>" not in page.text
    header = token("admin")
    mended = client().put("/api/v1/schedules/bad", json=NIGHTLY, headers=header)
    assert mended.status_code == 200, mended.text
    assert mended.json()["problem"] is None


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=50)
@given(
    asked=st.builds(
        ScanBody,
        models=st.lists(WORDS, max_size=3),
        match=st.none() | WORDS,
        dataset=st.none() | WORDS,
        limit=st.none() | st.integers(1, 100),
        eps=st.none() | st.floats(1e-3, 1, allow_subnormal=False),
        device=st.sampled_from(["cpu", "cuda:1"]),
        pretrained_only=st.booleans(),
    )
)
def test_the_command_asks_for_what_was_asked_for(asked: ScanBody) -> None:
    """Whatever the words, the command line reads them as the values that they were, and as no option of their own."""
    options = command.make_context("scan", asked.to_command()[1:]).params
    for name, value in asked.model_dump(exclude={"stop_at"}).items():
        assert options[name] == (tuple(value) if isinstance(value, list) else value), name
