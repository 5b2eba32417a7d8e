"""The pages of schedules and tokens: who may do what, errors at their field, and nothing that tells a token."""

import html
import re
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from auditor.config import settings
from auditor.db.schedules import add_schedule, claim_run, end_run, find_schedule
from auditor.db.session import open_database
from auditor.db.tokens import check_token
from tests.factories.adaptations import adapted
from tests.factories.command import run
from tests.web.serving import client, token

ORIGIN = {"Origin": "http://testserver"}
SCHEDULE = {"name": "nightly", "cron": "0 2 * * *", "command": "scan demo --match 'at-*' --reverify 5"}
TOKEN = {"name": "ci", "scope": "scan", "days": "90"}


def signed_in(scope: str | None, **options: object) -> TestClient:
    server = client(**options)
    server.headers.update(ORIGIN)
    if scope:
        server.cookies.set("auditor_token", token(scope, f"me-{scope}")["Authorization"].removeprefix("Bearer "))
    return server


def add(name: str = "nightly", command: tuple[str, ...] = ("scan", "demo", "--match", "at-*")) -> None:
    add_schedule(open_database(settings().database_url), name, "0 2 * * *", command)


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


SIGN_IN = 303
WRITES = [
    ("/schedules", SCHEDULE, "admin", 303),
    ("/schedules/1", SCHEDULE, "admin", 303),
    ("/schedules/1/enable", {}, "admin", 303),
    ("/schedules/1/disable", {}, "admin", 303),
    ("/schedules/1/delete", {}, "admin", 303),
    ("/tokens", TOKEN, "admin", 200),
    ("/tokens/1/revoke", {}, "admin", 303),
    ("/adaptations/1/cancel", {}, "boost", 303),
]


@pytest.mark.long
@pytest.mark.parametrize(("path", "fields", "scope", "status"), WRITES)
def test_who_may_write(path: str, fields: dict[str, str], scope: str, status: int) -> None:
    """Without the scope the browser is led to the sign-in page, and nothing has changed."""
    add("other")
    adapted(state="queued")
    token("read", "first")
    before = [run(*words, "--format", "json").stdout for words in (("schedule", "list"), ("tokens", "list"))]
    for given in (None, "read", "scan"):
        answer = signed_in(given).post(path, data=fields)
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (SIGN_IN, "/sign-in"), given
        assert f"scope={scope}" in answer.headers["location"]
    after = [run(*words, "--format", "json").stdout for words in (("schedule", "list"), ("tokens", "list"))]
    assert before[0] == after[0]
    assert after[1].count('"revoked"') == 0
    server = signed_in(scope)
    for origin in ("https://elsewhere.example", "null", "http://testserver:81"):
        assert server.post(path, data=fields, headers={"Origin": origin}).status_code == 403, origin
    del server.headers["Origin"]
    assert server.post(path, data=fields).status_code == 403
    assert server.post(path, data=fields, headers=ORIGIN).status_code == status


@pytest.mark.long
@pytest.mark.parametrize("path", ["/tokens", "/tokens/1/revoke"])
def test_only_admins_read_tokens(path: str) -> None:
    for options in ({}, {"open_reading": False}):
        assert signed_in(None, **options).get(path).headers["location"] == f"/sign-in?next={path}&scope=admin"
    for scope in ("read", "scan", "boost"):
        server = signed_in(scope)
        answer = server.get(path)
        assert (answer.status_code, f"me-{scope} has the scope {scope}" in answer.text) == (403, True)
        assert 'href="/tokens"' not in server.get("/schedules").text
    assert signed_in("admin").get(path).status_code == 200


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["/checkpoints", "/adaptations", "/adaptations/1", "/schedules", "/schedules/1", "/schedules/1/delete"]
)
def test_a_closed_server_shows_these_pages_to_readers_only(path: str) -> None:
    add()
    adapted()
    assert signed_in(None, open_reading=False).get(path).headers["location"].startswith("/sign-in?next=")
    assert signed_in("read", open_reading=False).get(path).status_code == 200
    assert signed_in(None).get(path).status_code == 200


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": ""}, "name", "expected up to 100 letters"),
        ({"name": "../x"}, "name", "expected up to 100 letters"),
        ({"cron": "61 2 * * *"}, "cron", "expected five fields"),
        ({"cron": ""}, "cron", "expected five fields"),
        ({"command": ""}, "command", "got none"),
        ({"command": "boost demo:standard"}, "command", "expected a command such as"),
        ({"command": "scan dem"}, "command", "did you mean demo?"),
        ({"command": "scan demo --reverfy 5"}, "command", "--reverfy"),
        ({"command": "scan demo --match 'at-*"}, "command", "matching quotes"),
        ({"command": "scan demo --match zzz*"}, "command", "match none of"),
        ({"command": "scan demo --queue"}, "command", "cannot be scheduled"),
        ({"command": "scan demo --run=7"}, "command", "cannot be scheduled"),
        ({"command": "scan local /srv/zoo"}, "command", "over HTTP"),
        ({"command": "scan demo --data /etc"}, "command", "over HTTP"),
        ({"command": "scan demo --save-adversarials /tmp/x"}, "command", "over HTTP"),
        ({"command": "scan demo --trust-code"}, "command", "over HTTP"),
        ({"command": "scan demo --attack /etc/passwd.py:f"}, "command", "over HTTP"),
        ({"command": "scan demo --attack /etc/passwd.py:f --data /none"}, "command", "over HTTP"),
        ({"command": "scan demo --transfer-from local:a --transfer-zoo /srv"}, "command", "over HTTP"),
    ],
)
def test_a_typo_in_a_schedule_stands_at_its_field_and_the_rest_is_kept(
    change: dict[str, str], field: str, words: str
) -> None:
    fields = SCHEDULE | change
    add("other")
    server = signed_in("admin")
    for path in ("/schedules", *([] if field == "name" else ["/schedules/1"])):
        answer = server.post(path, data=fields)
        assert answer.status_code == 422, path
        assert answer.text.count('aria-invalid="true"') == 1
        error = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', answer.text)
        assert error, path
        assert words in html.unescape(error[1])
        assert "--cron" not in error[1]
        typed = html.unescape(answer.text)
        for name in ("name", "cron", "command") if path == "/schedules" else ("cron", "command"):
            assert re.search(rf'id="{name}"[^>]* value="{re.escape(fields[name])}"', typed) or (
                f">{fields[name]}</textarea>" in typed
            ), name
    (stored,) = server.get("/api/v1/schedules").json()["schedules"]
    assert stored["command"] == ["auditor", "scan", "demo", "--match", "at-*"]


def test_a_schedule_is_added_changed_switched_and_deleted() -> None:
    server = signed_in("admin")
    made = server.post("/schedules", data=SCHEDULE)
    assert made.headers["location"] == "/schedules/1"
    assert server.post("/schedules", data=SCHEDULE).status_code == 409
    page = text_of(server.get("/schedules/1").text)
    assert "auditor scan demo --match 'at-*' --reverify 5" in page
    assert len(re.findall(r"\d{4}-\d\d-\d\d 02:00 UTC", page)) == 3
    changed = {"cron": "30 3 * * 1", "command": "auditor scan demo --protocol screen"}
    assert server.post("/schedules/1", data=changed).status_code == 303
    server.post("/schedules/1/disable")
    (row,) = server.get("/api/v1/schedules").json()["schedules"]
    assert (row["id"], row["cron"], row["enabled"], row["next"]) == (1, "30 3 * * 1", False, None)
    assert row["command"] == ["auditor", "scan", "demo", "--protocol", "screen"]
    assert "not while it is disabled" in server.get("/schedules/1").text
    server.post("/schedules/1/enable")
    assert "Delete the schedule nightly?" in server.get("/schedules/1/delete").text
    assert server.get("/api/v1/schedules").json()["schedules"][0]["enabled"]
    assert server.post("/schedules/1/delete").headers["location"] == "/schedules"
    assert server.get("/schedules/1").status_code == 404
    assert server.post("/schedules/1/explode").status_code == 422


def test_the_command_of_a_local_zoo_stays_when_its_times_change() -> None:
    add("ours", ("scan", "local", "/on/another/machine", "--trust-code"))
    server = signed_in("admin")
    command = "scan local /on/another/machine --trust-code"
    assert server.post("/schedules/1", data={"cron": "1 1 * * *", "command": command}).status_code == 303
    refused = server.post("/schedules/1", data={"cron": "1 1 * * *", "command": command + " --limit 1"})
    assert refused.status_code == 422
    assert server.get("/api/v1/schedules").json()["schedules"][0]["cron"] == "1 1 * * *"


def test_the_whole_outcome_of_each_run_is_on_the_page() -> None:
    add()
    engine = open_database(settings().database_url)
    schedule = find_schedule(engine, "nightly")
    reason = "no model of demo matches: " + "x" * 400 + " the end"
    for day in (1, 2):
        claimed = claim_run(engine, schedule, datetime(2026, 3, day, 2, tzinfo=UTC))
        assert claimed is not None
        end_run(engine, claimed.claim, "failed", f"{reason} of day {day}")
    assert claim_run(engine, schedule, datetime(2026, 3, 3, 2, tzinfo=UTC), skipped="late by 30 hours") is None
    page = text_of(client().get("/schedules/1").text)
    places = [page.index(words) for words in ("skipped: late by 30 hours", f"{reason} of day 2", f"{reason} of day 1")]
    assert places == sorted(places)
    assert "skipped: late by 30 hours" in text_of(client().get("/schedules").text)


@pytest.mark.long
def test_a_schedule_runs_now_and_not_twice_at_once() -> None:
    add("now", ("scan", "demo", "--model", "standard", "--protocol", "screen"))
    server = signed_in("admin")
    with server:
        assert server.post("/schedules/1/run").headers["location"] == "/schedules/1"
        again = server.post("/schedules/1/run")
        header = token("admin", "api")
        twice = server.post("/api/v1/schedules/now/run", headers=header)
        assert (again.status_code, twice.status_code) == (409, 409)
        assert "is running" in text_of(again.text)
        server.app.state.background().thread.submit(lambda: None).result(120)
        last = server.get("/api/v1/schedules").json()["schedules"][0]["last"]
        assert (last["state"], last["scan"], last["scan_state"]) == ("done", 1, "done")
        assert 'href="/scans/1"' in server.get("/schedules/1").text


@pytest.mark.long
def test_a_stopping_server_interrupts_the_run_and_says_so() -> None:
    add("long", ("scan", "demo", "--protocol", "full"))
    add("waits", ("scan", "demo", "--protocol", "screen"))
    server = signed_in("admin")
    with server:
        for number in (1, 2):
            assert server.post(f"/schedules/{number}/run").status_code == 303
    long, waits = (row["last"] for row in client().get("/api/v1/schedules").json()["schedules"])
    assert (long["state"], waits["state"]) == ("failed", "failed")
    assert waits["reason"] == "the server stopped before this run began"


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "field", "words", "status"),
    [
        ({"name": "a b"}, "name", "expected up to 64 letters", 422),
        ({"name": ""}, "name", "expected a value", 422),
        ({"name": "taken"}, "name", "is taken", 409),
        ({"scope": "root"}, "scope", "expected", 422),
        ({"days": "soon"}, "days", "expected a number", 422),
        ({"days": "0"}, "days", "expected more than 0", 422),
        ({"days": "nan"}, "days", "finite", 422),
        ({"days": "1e9"}, "days", "expected 36500 or less", 422),
    ],
)
def test_a_typo_in_a_token_stands_at_its_field(change: dict[str, str], field: str, words: str, status: int) -> None:
    token("read", "taken")
    fields = TOKEN | change
    answer = signed_in("admin").post("/tokens", data=fields)
    assert answer.status_code == status
    error = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', answer.text)
    assert error
    assert words in html.unescape(error[1])
    for name in {"name", "days"} - ({field} if not fields[field] else set()):
        assert re.search(rf'id="{name}"[^>]* value="{re.escape(fields[name])}"', answer.text), name


def test_a_new_token_is_shown_once_and_revoked_after_a_question(caplog: pytest.LogCaptureFixture) -> None:
    server = signed_in("admin")
    made = server.post("/tokens", data=TOKEN)
    (secret,) = re.findall(r"<code>(auditor_\d+_\S{43})</code>", made.text)
    bearer = check_token(open_database(settings().database_url), secret)
    assert bearer is not None
    assert (bearer.name, bearer.scope) == ("ci", "scan")
    assert made.headers["cache-control"] == "no-store"
    assert "set-cookie" not in made.headers
    assert secret not in str(made.headers) + str(made.url) + caplog.text
    page = server.get("/tokens")
    assert secret not in page.text
    assert page.headers["cache-control"] == "private, no-cache"
    row = text_of(re.sub(r"</t[dh]>", " ", page.text))
    assert re.search(r"ci scan valid (just now|\d+ \w+ ago) (just now|\d+ \w+ ago) in \d+ (months|days) Revoke", row)
    question = server.get(f"/tokens/{bearer.id}/revoke").text
    assert "Revoke the token ci?" in question
    assert check_token(open_database(settings().database_url), secret) is not None
    assert server.post(f"/tokens/{bearer.id}/revoke").headers["location"] == "/tokens"
    assert check_token(open_database(settings().database_url), secret) is None
    assert server.get(f"/tokens/{bearer.id}/revoke").status_code == 404
    assert server.post(f"/tokens/{bearer.id}/revoke").status_code == 404
    assert "you are signed out at once" in server.get("/tokens/1/revoke").text
