"""The HTTP API: the CLI's answers, page by page, and errors that programs can read."""

import base64
import hashlib
import json
import math
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db.filters import SORTABLE
from auditor.db.models import Scan
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.results.serialize import nan_to_none, serialize
from auditor.web.security.hosts import check_origins
from tests.factories import checkpoint_rows
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.records import REQUEST, entry
from tests.web.serving import client, token


@pytest.fixture
def _some() -> None:
    for number in range(12):
        flags = ("zero_gradients",) if number % 5 == 0 else ()
        changes = {"robust_low": 0.1, "robust_high": 0.9}
        audited(f"m{number:02}", [50, 60, 70][number % 3], flags=flags, seconds=float(number % 4), **changes)


@pytest.mark.long
@pytest.mark.usefixtures("_some")
def test_pages_are_the_whole_list_whatever_the_order() -> None:
    server, engine = client(), open_database(settings().database_url)
    for sort in [*SORTABLE, *(f"-{name}" for name in SORTABLE)]:
        assert through(server, sort) == [
            nan_to_none(serialize(row)) for row in list_results(engine, Filter(), sort=sort)
        ], sort


def through(server: TestClient, sort: str) -> list[dict]:
    """The results of all pages of five."""
    found, cursor = [], ""
    for _ in range(10):
        page = server.get(f"/api/v1/results?sort={sort}&limit=5{cursor}").json()
        found += page["results"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"
    raise AssertionError("the pages have no end")


@pytest.mark.usefixtures("_some")
def test_rows_that_come_in_meanwhile_neither_repeat_nor_hide_others() -> None:
    server = client()
    first = server.get("/api/v1/results?limit=6").json()
    audited("newcomer", 99)
    audited("straggler", 1)
    second = server.get(f"/api/v1/results?limit=20&cursor={first['next']}").json()
    names = [row["model"] for row in first["results"] + second["results"]]
    assert len(names) == len(set(names)) == 13
    assert "demo:newcomer" not in names


@pytest.mark.usefixtures("_some")
def test_filters_are_those_of_the_command_line() -> None:
    server = client()
    for query, options in (
        ("flagged=true", ["--flagged"]),
        ("match=m0*&sort=model", ["--match", "m0*", "--sort", "model"]),
        ("model=m03", ["--model", "m03"]),
        ("history=true&protocol=quick", ["--history", "--protocol", "quick"]),
    ):
        expected = json.loads(run("results", "list", "--format", "json", *options).stdout)
        assert expected
        assert server.get(f"/api/v1/results?{query}").json()["results"] == expected


@pytest.mark.long
def test_a_result_and_its_matrices() -> None:
    assert run("scan", "demo", "--model", "standard", "--samples", "20").exit_code == 0
    server = client()
    (shown,) = json.loads(run("results", "show", "standard", "--format", "json").stdout)
    assert server.get("/api/v1/results/1").json() == shown
    matrix = server.get("/api/v1/results/1/matrices/weights").json()
    assert matrix["matrix"] == shown["clusterings"]["weights"]["matrix"]
    picture = server.get("/api/v1/results/1/matrices/weights/picture")
    assert picture.headers["content-type"] == "image/png"
    Path("c.png").write_bytes(picture.content)
    assert np.asarray(Image.open("c.png")).shape == (500, 500, 3)
    assert server.get("/api/v1/results/1/matrices/nothing").status_code == 422


def test_a_comparison() -> None:
    audited("strong", 80)
    audited("middling", 60)
    (expected,) = json.loads(run("results", "compare", "strong", "middling", "--format", "json").stdout)
    assert client().get("/api/v1/comparison?a=strong&b=middling").json() == expected


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/nothing", 404, "there is nothing at the address /api/v1/nothing"),
        ("/api/v1/results/7", 404, "there is no result 7"),
        ("/api/v1/results/0", 422, "number: expected 1 or more, got '0'"),
        ("/api/v1/results/99999999999", 422, "number: expected 2147483647 or less, got '99999999999'"),
        ("/api/v1/results?sort=nothing", 422, "sort"),
        ("/api/v1/results?cursor=nonsense", 422, "cursor"),
        ("/api/v1/results?limit=501", 422, "limit"),
        ("/api/v1/scans/3", 404, "there is no scan 3"),
        ("/api/v1/scans/3/events", 404, "there is no scan 3"),
        ("/api/v1/boosts/3", 404, "there is no boost 3"),
        ("/api/v1/checkpoints/3", 404, "there is no checkpoint 3"),
        ("/api/v1/checkpoints/3/weights", 401, "token"),
        ("/api/v1/checkpoints/..%2f..%2fetc%2fpasswd/weights", 404, "there is nothing at the address"),
        ("/api/v1/comparison?a=x&b=y", 422, "no result of 'x'"),
    ],
)
def test_errors_are_problems(path: str, status: int, words: str) -> None:
    answer = client().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    body = answer.json()
    assert (body["status"], set(body)) == (status, {"type", "title", "status", "detail"})
    assert words in body["detail"]


@pytest.mark.parametrize(
    "content",
    [
        ["-robust_accuracy", 10**26, 1], ["-robust_accuracy", 0.5, True], ["-robust_accuracy", math.nan, 1],
        ["-robust_accuracy", math.inf, 1], ["-robust_accuracy", 0.5, -1], ["-robust_accuracy", "a", 1],
        ["-gap", 0.5, 1],
    ],
)  # fmt: skip
def test_made_cursors_are_refused(content: list[object]) -> None:
    made = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    for path in ("/api/v1/results?cursor=", "/?cursor="):
        assert client().get(path + made).status_code == 422, path


def test_a_wrong_method_and_a_crash_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    server = client()
    assert server.delete("/api/v1/results").json()["status"] == 405
    monkeypatch.setattr("auditor.web.api.scans.list_scans", lambda *_, **__: 1 / 0)
    crash = server.get("/api/v1/scans")
    assert crash.status_code == 500
    assert "division" not in crash.text


def test_limits_of_rate_and_body() -> None:
    server = client(per_minute=3)
    answers = [server.get("/api/v1/scans").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert server.get("/api/v1/scans").headers["retry-after"] == "10"
    assert server.get("/static/style.css").status_code == 200
    large = client().post("/api/v1/scans", content=b"x" * 70_000, headers=token("scan"))
    assert large.status_code == 413


@pytest.mark.long
def test_pages_answer_monitors() -> None:
    for path in ("/", "/zoo", "/scans", "/boosts"):
        assert client().head(path).status_code == 200


def test_every_answer_forbids_what_pages_do_not_need() -> None:
    for path in ("/", "/api/v1/results", "/static/style.css", "/nothing"):
        headers = client().get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.long
def test_a_scan_is_asked_for_followed_and_done() -> None:
    header = token("scan")
    with client() as server:
        asked = {"source": "demo", "models": ["standard"], "samples": 10}
        answer = server.post("/api/v1/scans", json=asked, headers=header)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == "/api/v1/scans/1"
        assert [audit["model"] for audit in answer.json()["audits"]] == ["demo:standard"]
        with server.stream("GET", "/api/v1/scans/1/events") as events:
            lines = list(events.iter_lines())
        kinds = [line.partition(": ")[2] for line in lines if line.startswith("event:")]
        assert kinds[-1] == "end"
        assert kinds.count("scan") >= 2
        last = [json.loads(line.partition(": ")[2]) for line in lines if line.startswith("data:")]
        assert last[-1] == {"scan": 1, "state": "done"}
        (row,) = server.get("/api/v1/results?scan=1").json()["results"]
        assert (row["model"], row["n"], row["status"]) == ("demo:standard", 10, "done")


@pytest.mark.long
def test_a_scan_is_cancelled_and_a_server_that_ends_ends_its_own() -> None:
    header = token("scan")
    with client() as server:
        asked = {"source": "demo", "protocol": "standard"}
        for number in (1, 2):
            assert server.post("/api/v1/scans", json=asked, headers=header).json()["scan"] == number
        assert server.post("/api/v1/scans/1/cancel", headers=header).status_code == 202
        deadline = time.monotonic() + 60
        while server.get("/api/v1/scans/1").json()["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert server.get("/api/v1/scans/1").json()["state"] == "interrupted"
    scans = json.loads(run("scans", "list", "--format", "json").stdout)
    assert {scan["state"] for scan in scans} == {"interrupted"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"source": "local"}, "source"),
        ({"source": "demo", "folder": "/etc"}, "folder"),
        ({"source": "demo", "data": "/etc"}, "data"),
        ({"source": "demo", "trust_code": True}, "trust_code"),
        ({"source": "demo", "device": "cpu; rm -rf /"}, "device"),
        ({"source": "demo", "models": ["nothing"]}, "nothing"),
        ({"source": "demo", "protocol": "screen", "samples": 5}, "samples"),
        ({"source": "demo", "norm": "L2"}, "norm"),
        ({"source": "demo", "triage": 1.5}, "triage"),
        ({"source": "demo", "triage": 0.5, "protocol": "screen"}, "triage"),
        ({"source": "demo", "stop_at": 1.5}, "stop_at"),
        ({"source": "demo", "stop_at": 0.5, "protocol": "screen"}, "an early answer has no meaning under 'screen'"),
        ({"source": "demo", "stop_at": 0.5, "protocol": "strong"}, "strong spreads its budget"),
        ({"source": "demo", "attack": "a.py:f"}, "attack"),
        ({"source": "demo", "device": "cuda:99"}, "cuda:99"),
        ({"source": "demo", "eps": 2.0}, "radius"),
    ],
)
def test_what_may_not_be_asked_for(asked: dict, words: str) -> None:
    answer = client().post("/api/v1/scans", json=asked, headers=token("admin"))
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert client().get("/api/v1/scans").json() == {"scans": [], "next": None}


@pytest.mark.parametrize(
    ("path", "name", "hint"),
    [
        ("results?next=abc", "next", "known: "),
        ("results?norms=L2", "norms", "did you mean norm?"),
        ("audits?sorted=gap", "sorted", "did you mean sort?"),
        ("scans?offset=1", "offset", "known: state, source, limit, cursor"),
        ("scans/1?limit=1", "limit", "known: none"),
        ("comparison?a=x&b=y&c=z", "c", "known: a, b, protocol"),
        ("schedules?x", "x", "known: none"),
    ],
)
def test_unknown_query_parameters_are_refused_by_name(path: str, name: str, hint: str) -> None:
    answer = client().get(f"/api/v1/{path}{'=' if path.endswith('?x') else ''}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"unknown query parameter '{name}'; ")
    assert hint in answer.json()["detail"]


def test_results_by_norm_radius_time_architecture_and_training() -> None:
    audited("one", 50, architecture={"name": "ResNet-18"}, training={"method": "TRADES"})
    audited("two", 60, norm="L2", eps=0.5, architecture={"name": "ViT-B"}, training={"method": "standard"})
    server = client()

    def names(query: str) -> list[str]:
        answer = server.get(f"/api/v1/results?sort=model&{query}")
        assert answer.status_code == 200, answer.text
        return [row["model"].partition(":")[2] for row in answer.json()["results"]]

    assert names("") == ["one", "two"]
    assert names("norm=L2") == ["two"]
    assert names("eps=0.5") == ["two"]
    assert names("eps=0.50001") == ["two"]
    assert names("eps=0.51") == []
    assert names("architecture=resnet") == ["one"]
    assert names("training=Trades") == ["one"]
    assert names("training=trades&norm=L2") == []
    assert names("since=2000-01-01T00:00:00Z") == ["one", "two"]
    assert names("until=2000-01-01") == []
    assert server.get("/api/v1/results?since=0001-01-01T00:00:00%2B10:00").status_code == 422
    listed = run("results", "list", "--norm", "L2", "--eps", "1/2", "--since", "2000-01-01", "--format", "json")
    assert [row["model"] for row in json.loads(listed.stdout)] == ["demo:two"]
    assert json.loads(run("results", "list", "--architecture", "vgg", "--format", "json").stdout) == []
    assert run("results", "list", "--since", "yesterday").exit_code == 2
    assert "one" in server.get("/?architecture=resnet&norm=Linf").text
    assert "matches these filters" in server.get("/?eps=8/255").text
    assert server.get("/?eps=much").status_code == 422


def test_scans_and_boosts_have_pages() -> None:
    engine = open_database(settings().database_url)
    with Session(engine) as session:
        for _ in range(5):
            session.add(Scan(source="demo", request={}, state="done", started_at=datetime.now(UTC)))
        session.commit()
    server, found, cursor = client(), [], ""
    for size in (2, 2, 1):
        page = server.get(f"/api/v1/scans?limit=2{cursor}").json()
        assert len(page["scans"]) == size
        found += [scan["scan"] for scan in page["scans"]]
        cursor = f"&cursor={page['next']}"
    assert page["next"] is None
    assert found == [5, 4, 3, 2, 1]
    foreign = server.get("/api/v1/scans?limit=2").json()["next"]
    assert server.get(f"/api/v1/boosts?cursor={foreign}").status_code == 422


@pytest.mark.parametrize(("kind", "given"), [("text/plain", "got 'text/plain'"), ("", "but there is none")])
def test_a_body_of_another_type_is_told_which_header_is_missing(kind: str, given: str) -> None:
    headers = token("admin") | ({"Content-Type": kind} if kind else {})
    answer = client().post("/api/v1/scans", content=b'{"source": "demo"}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"expected the header Content-Type: application/json, {given}"


@pytest.mark.long
def test_health_needs_no_token_and_the_reference_lists_every_route() -> None:
    server = client(open_reading=False)
    assert server.get("/api/v1/health").json() == {"status": "ok", "version": version("auditor")}
    assert server.get("/api/v1/results").status_code == 401
    page = client().get("/docs")
    assert page.status_code == 200
    for path, methods in client().get("/api/v1/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.text


def test_only_allowed_origins_may_call_from_a_browser() -> None:
    server = client(allowed_origins=["https://plots.example.com"])
    for origin, allowed in (("https://plots.example.com", True), ("https://evil.example", False)):
        answer = server.get("/api/v1/results", headers={"Origin": origin})
        assert ("access-control-allow-origin" in answer.headers) == allowed
    preflight = {"Origin": "https://plots.example.com", "Access-Control-Request-Method": "POST"}
    assert server.options("/api/v1/scans", headers=preflight).status_code == 200
    assert "access-control-allow-credentials" not in answer.headers
    assert (
        "access-control-allow-origin" not in client().get("/api/v1/results", headers={"Origin": "https://a.b"}).headers
    )


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Plots.example.com/", "https://plots.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("plots.example.com", None),
        ("ftp://plots.example.com", None),
        ("https://", None),
        ("*", None),
        ("https://a.b/path", None),
    ],
)
def test_origins(text: str, origin: str | None) -> None:
    if origin is None:
        with pytest.raises(UsageError, match="--allowed-origin"):
            check_origins([text])
    else:
        assert check_origins([text]) == [origin]


def test_a_checkpoint_is_downloaded_whole_in_part_and_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = bytes(range(256)) * 40
    folder = tmp_path / "checkpoints" / "1"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(folder.parent))
    settings.cache_clear()
    found = checkpoint_rows.row(folder, id=1, checkpoint="checkpoint:1")
    monkeypatch.setattr("auditor.web.api.checkpoints.load_checkpoint", lambda *_: found)
    server, header = client(), token("read")
    shown = server.get("/api/v1/checkpoints/1").json()
    assert (shown["checkpoint"], shown["file_sha256"]) == ("checkpoint:1", hashlib.sha256(weights).hexdigest())
    assert "folder" not in shown
    whole = server.get("/api/v1/checkpoints/1/weights", headers=header)
    assert whole.content == weights
    assert whole.headers["etag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    assert whole.headers["repr-digest"].startswith("sha-256=:")
    head = server.head("/api/v1/checkpoints/1/weights", headers=header)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(weights))
    assert head.headers["repr-digest"] == whole.headers["repr-digest"]
    assert server.head("/api/v1/checkpoints/1/weights").status_code == 401
    part = server.get("/api/v1/checkpoints/1/weights", headers={**header, "Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, weights[100:200])
    (folder / "model.safetensors").unlink()
    gone = server.get("/api/v1/checkpoints/1/weights", headers=header)
    assert (gone.status_code, str(tmp_path) in gone.text) == (404, False)


def test_schedules() -> None:
    made = run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo", "--protocol", "quick")
    assert made.exit_code == 0
    (row,) = client().get("/api/v1/schedules").json()["schedules"]
    assert (row["name"], row["command"][:3], row["last"]) == ("nightly", ["auditor", "scan", "demo"], None)
    assert row["next"].endswith("02:00:00+00:00") or row["next"].endswith("02:00:00Z")


def test_scans_are_listed_with_their_counts() -> None:
    store = Store(open_database(settings().database_url))
    store.create_scan("demo", REQUEST, [entry("a"), entry("b")], queue="cpu")
    (scan,) = client().get("/api/v1/scans").json()["scans"]
    assert (scan["queued"], scan["state"]) == (2, "running")
