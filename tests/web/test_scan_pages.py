"""The pages of scans, and of workers and queues, over rows in each state."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.scans import cancel_scan, load_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.results.previous import previous_scan
from auditor.web.shapes.requests import ScanBody
from tests.factories.audits import audited
from tests.factories.records import entry, record
from tests.factories.scans import WORKER, age, boost_of, scan_of, scan_request, send_heartbeat
from tests.web.serving import client, token


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


def signed_in(scope: str, **options: Any) -> TestClient:
    server = client(**options)
    server.headers["Origin"] = "http://testserver"
    secret = token(scope)["Authorization"].removeprefix("Bearer ")
    assert server.post("/sign-in", data={"token": secret}).status_code == 303
    return server


def command_of(page: str) -> str:
    """The command that starts the same scan."""
    found = re.search(r'<pre class="command".*?</pre>', page, re.DOTALL)
    assert found
    return re.sub(r"<[^>]*>", "", found[0])


def bar(page: str) -> list[tuple[str, int]]:
    """The first bar of a page: states and widths in percent."""
    found = re.search(r'<svg class="progress".*?</svg>', page, re.DOTALL)
    assert found
    parts = re.findall(r'class="(\w+)" x="[\d.]+" width="([\d.]+)"', found[0])
    return [(state, round(float(width))) for state, width in parts]


# The bar, and what a page says in each state.


@pytest.mark.parametrize(
    ("ends", "segments", "status"),
    [
        (["done"] * 4, [("done", 100)], "done: 4 of 4 ended"),
        (["done", "failed"], [("done", 50), ("failed", 50)], "done: 2 of 2 ended"),
        (["done", *["cancelled"] * 3], [("done", 25), ("cancelled", 75)], "interrupted: 1 of 4 ended"),
        (["cancelled"], [("cancelled", 100)], "interrupted: 0 of 1 ended"),
        (["done", "failed", "running", "queued"],
         [("done", 25), ("failed", 25), ("running", 25), ("queued", 25)], "running: 2 of 4 ended"),
    ],
)  # fmt: skip
def test_every_audit_has_a_place_in_the_bar(
    engine: Engine, ends: list[str], segments: list[tuple[str, int]], status: str
) -> None:
    number = scan_of(engine, *ends)
    server = client()
    for path in (f"/scans/{number}", "/scans"):
        assert bar(server.get(path).text) == segments, path
    assert status in server.get(f"/scans/{number}").text


def silent(engine: Engine) -> int:
    number = scan_of(engine, "done", "running", "queued")
    age(engine, 75)
    return number


def alive(engine: Engine) -> int:
    return scan_of(engine, "done", "running", "queued", seconds=600)


def waiting(engine: Engine) -> int:
    return scan_of(engine, "queued")


def interrupted(engine: Engine) -> int:
    return scan_of(engine, "done", "failed", "cancelled")


def finished(engine: Engine) -> int:
    return scan_of(engine, "done", "done")


def of_a_folder(engine: Engine) -> int:
    return scan_of(engine, "failed", source="local", request=scan_request(folder="/srv/secret-zoo"))


SILENT, UNSERVED, LIVE = "no sign of life for 1 min 1", "No worker serves the queue cpu", 'hx-trigger="every 2s"'
CANCEL, RETRY, REPORT = "<button>Cancel</button>", "<button>Retry the", "Download the report"
COMMAND = "<code>auditor scans retry 1</code>"
EVERYTHING = {SILENT, UNSERVED, LIVE, CANCEL, RETRY, REPORT, COMMAND, "about"}


@pytest.mark.parametrize(
    ("make", "there"),
    [
        (silent, {SILENT, UNSERVED, LIVE, CANCEL, REPORT}),
        (alive, {LIVE, CANCEL, REPORT, "about"}),
        (waiting, {UNSERVED, LIVE, CANCEL}),
        (interrupted, {RETRY, REPORT}),
        (finished, {REPORT}),
        (of_a_folder, {COMMAND, REPORT}),
    ],
)
def test_a_scan_page_offers_what_its_state_allows(
    engine: Engine, make: Callable[[Engine], int], there: set[str]
) -> None:
    page = client().get(f"/scans/{make(engine)}").text
    assert {words for words in EVERYTHING if words in page} == there
    assert ("htmx.min.js" in page) == (LIVE in there)


def test_a_scan_page_says_what_was_scanned(engine: Engine) -> None:
    number = scan_of(engine, "done", "failed", request=scan_request("quick", targeted="superclass", seed=3))
    page = client().get(f"/scans/{number}").text
    pairs = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page))
    assert pairs == {
        "zoo": "demo", "models": "2", "data": "fashion_mnist", "threat model": "Linf 0.1", "protocol": "quick",
        "images": "20", "seed": "3", "targeted attacks": "superclass", "device": "cpu",
    }  # fmt: skip
    whole = "auditor scan demo --model 0 --model 1 --protocol quick --samples 20 --norm Linf --eps 0.1 "
    assert command_of(page) == whole + "--targeted superclass --seed 3 --time-limit 60"
    assert '<td class="number">50.0</td>' in page  # the result is in place
    assert '<td class="reason">no weights</td>' in page


def test_paths_of_the_machine_are_for_readers_with_a_token(engine: Engine) -> None:
    number = of_a_folder(engine)
    without = client().get(f"/scans/{number}").text
    assert "secret-zoo" not in without
    assert command_of(without).startswith("auditor scan local DIR --model 0")
    within = signed_in("read").get(f"/scans/{number}").text
    assert command_of(within).startswith("auditor scan local /srv/secret-zoo --model 0")


def test_the_table_of_a_scan_has_pages_and_states(engine: Engine) -> None:
    number = scan_of(engine, *["done"] * 3, "failed", *["queued"] * 118)
    server = client()
    first, second = (server.get(f"/scans/{number}?page={page}").text for page in (1, 2))
    assert [page.count('<tr id="audit-') for page in (first, second)] == [100, 22]
    assert "Page 1 of 2" in first
    failed = server.get(f"/scans/{number}?state=failed").text
    assert failed.count('<tr id="audit-') == 1
    assert f'href="/scans/{number}">all 122</a>' in failed
    assert server.get(f"/scans/{number}?page=99").text.count('<tr id="audit-') == 22
    assert server.get(f"/scans/{number}?state=lost").status_code == 422


@pytest.mark.long
@pytest.mark.parametrize(
    ("sort", "order"),
    [("", [1, 2, 3, 4]), ("-robust_accuracy", [2, 1, 3, 4]), ("robust_accuracy", [3, 1, 2, 4]),
     ("-model", [4, 3, 2, 1]), ("clean_accuracy", [1, 2, 3, 4])],
)  # fmt: skip
def test_the_table_of_a_scan_is_sorted_by_its_columns(engine: Engine, sort: str, order: list[int]) -> None:
    store = Store(engine)
    _, jobs = store.create_scan("demo", scan_request("quick"), [entry(name) for name in "abcd"], queue="cpu")
    for job, robust in zip(jobs, (0.4, 0.8, 0.1), strict=False):
        name = job.entry.model.removeprefix("demo:")
        attempt = store.claim(job.audit_id)
        assert attempt is not None
        store.finish(job.audit_id, attempt, record(name, name, robust))
    page = client().get("/scans/1", params={"sort": sort}).text
    assert [int(number) for number in re.findall(r'<tr id="audit-(\d+)"', page)] == order
    assert ("aria-sort" in page) == bool(sort)
    assert client().get("/scans/1?sort=worker").status_code == 422


def test_the_page_of_an_unfinished_audit_says_what_was_last_seen(engine: Engine) -> None:
    silent(engine)
    server = client()
    running, queued = server.get("/audits/2").text, server.get("/audits/3").text
    assert re.search(f"No sign of life for 1 min 1\\d s of {WORKER}", running)
    assert "No worker serves the queue cpu; start one with `auditor worker --queue cpu`" in queued
    assert '<a href="/scans/1">1</a>' in queued
    age(engine, -75)
    assert "sign of life" not in server.get("/audits/2").text
    assert "No worker" not in server.get("/audits/3").text


# The list.


def test_scans_are_filtered_and_come_in_pages(engine: Engine) -> None:
    for _ in range(53):
        scan_of(engine, "done")
    running = scan_of(engine, "queued", source="timm")
    server = client()

    def listed(path: str) -> list[int]:
        return [int(number) for number in re.findall(r'<tr id="scan-(\d+)"', server.get(path).text)]

    first = server.get("/scans").text
    following = re.search(r'href="([^"]*)" rel="next"', first)
    assert following
    assert listed("/scans") == list(range(running, running - 50, -1))
    assert listed(following[1].replace("&amp;", "&")) == [4, 3, 2, 1]
    assert listed("/scans?only_state=running") == listed("/scans?only_source=timm") == [running]
    assert listed("/scans?only_state=interrupted") == []
    assert "No scan matches" in server.get("/scans?only_state=interrupted").text
    assert 'hx-trigger="every 5s"' in first
    assert "hx-trigger" not in server.get("/scans?only_state=done").text
    assert server.get("/scans?cursor=x").status_code == 422
    api = server.get("/api/v1/scans?source=timm").json()
    assert [(row["scan"], row["unserved"], row["silent_since"], row["seconds_left"]) for row in api["scans"]] == [
        (running, True, None, None)
    ]


# The form.

WHOLE = {
    "source": "demo", "models": "at-eps0.10, standard", "dataset": "fashion_mnist", "threat_model": "Linf",
    "pretrained_only": "true", "limit": "3", "protocol": "standard", "samples": "30", "norm": "L2", "eps": "8/255",
    "linearization": "fold", "sketch": "64", "triage": "0.2", "targeted": "superclass", "stop_at": "0.45", "seed": "5",
    "curve": "true", "mixed_precision": "true", "certify": "smoothing", "sigma": "0.25",
    "device": "cuda:1",
    "force": "true", "match": "",
}  # fmt: skip


def test_the_form_takes_whatever_the_api_takes() -> None:
    server, started = signed_in("scan"), []

    class Jobs:
        def start_scan(self, body: ScanBody) -> int:
            started.append(body)
            return 7

    server.app.state.background = Jobs
    answer = server.post("/scans", data=WHOLE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/scans/7")
    (body,) = started
    assert set(WHOLE) == set(ScanBody.model_fields)
    assert body.models == ["at-eps0.10", "standard"]
    assert body.eps == pytest.approx(8 / 255)
    left_out = {"source", "models", "eps", "match"}
    for name in set(WHOLE) - left_out:
        assert str(getattr(body, name)).lower() == WHOLE[name].lower(), name
    page = server.get("/scans").text
    assert {name for name in WHOLE if f'name="{name}"' in page} == set(WHOLE)


@pytest.mark.parametrize(
    ("fields", "name", "error"),
    [
        ({"eps": "much"}, "eps", "expected a number such as 0.03 or 8/255"),
        ({"eps": "0"}, "eps", "expected a radius above 0"),
        ({"models": "nothing"}, "models", "nothing"),
        ({"match": "nothing-*"}, "match", "match none of"),
        ({"sketch": "1"}, "sketch", "expected 8 or more"),
        ({"device": "tpu"}, "device", "expected cpu, cuda or cuda:N"),
    ],
)
def test_an_error_stands_at_its_field_in_the_open_form(fields: dict[str, str], name: str, error: str) -> None:
    answer = signed_in("scan").post("/scans", data={"source": "demo", "protocol": "quick", "seed": "9"} | fields)
    assert answer.status_code in (404, 422)
    page = answer.text
    assert re.search(rf'<p class="error" id="{name}-error">[^<]*{re.escape(error)}', page), page[:3000]
    assert '<input id="seed" name="seed" type="text" inputmode="decimal" value="9"' in page
    assert "<details open>" in page


# Cancel and retry.


@pytest.mark.long
@pytest.mark.parametrize("scope", [None, "read", "scan"])
def test_a_scan_is_retried_from_its_page(engine: Engine, scope: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://127.0.0.1:1/0")  # stored, and sent once the broker responds
    number = scan_of(engine, "done", "failed", "cancelled")
    if scope is None:
        server = client()
        server.headers["Origin"] = "http://testserver"
    else:
        server = signed_in(scope)
    settings.cache_clear()
    answer = server.post(f"/scans/{number}/retry")
    assert answer.status_code == 303
    scan = load_scan(engine, number)
    if scope == "scan":
        assert answer.headers["location"] == f"/scans/{number}"
        assert (scan.state, scan.queue, scan.queued, scan.done) == ("running", "cpu", 2, 1)
    else:
        assert answer.headers["location"].startswith("/sign-in?next=")
        assert (scan.state, scan.queued) == ("interrupted", 0)


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (finished, 409, "none of the audits of scan 1 failed or was cancelled"),
        (of_a_folder, 422, "run `auditor scans retry 1`"),
        (lambda _: 1, 404, "there is no scan 1"),
    ],
)
def test_a_retry_that_cannot_be_says_why(
    engine: Engine, make: Callable[[Engine], int], status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://127.0.0.1:1/0")
    number = make(engine)
    header = token("scan")
    settings.cache_clear()
    answer = client().post(f"/api/v1/scans/{number}/retry", headers=header)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


@pytest.mark.long
def test_the_server_retries_by_itself_without_a_broker(engine: Engine) -> None:
    """The only audit names a model that the demo zoo does not have, so it fails at once, again."""
    number = scan_of(engine, "cancelled", queue="here")
    with client() as server:
        assert server.post(f"/api/v1/scans/{number}/retry", headers=token("scan")).status_code == 202
        with server.stream("GET", f"/api/v1/scans/{number}/events") as events:
            assert list(events.iter_lines())
    (audit,) = load_scan(engine, number).audits
    assert (audit.state, audit.attempt) == ("failed", 1)


# The difference to the scan before.


def test_the_scan_before_is_one_of_the_same_request_with_a_common_model(engine: Engine) -> None:
    quick, screen = scan_request("quick"), scan_request("screen")
    first = scan_of(engine, "done", request=quick)
    scan_of(engine, "done", request=screen)
    scan_of(engine, "done", request=quick, source="timm")
    scan_of(engine, "queued", request=quick)
    Store(engine).create_scan("demo", quick, [entry("another")])
    cancel_scan(engine, 5, "another model")
    last = scan_of(engine, "done", "done", request=quick | {"seconds": 7, "force": True})
    assert previous_scan(engine, last) == first
    assert previous_scan(engine, first) is None


def test_a_scan_of_another_threat_model_is_not_the_one_before(engine: Engine) -> None:
    linf = [entry("a")]
    others = [
        [replace(linf[0], norm="corruptions_generated", eps=0.0, threat_model="corruptions")],
        [replace(linf[0], eps=0.05)],
        [replace(linf[0], dataset="cifar10")],
    ]
    numbers = []
    for entries in (linf, *others, linf):
        numbers.append(Store(engine).create_scan("demo", scan_request("quick"), entries)[0])
        cancel_scan(engine, numbers[-1], "enough")
    assert [previous_scan(engine, number) for number in numbers] == [None, None, None, None, numbers[0]]


def test_a_scan_that_may_stop_is_not_the_one_before_a_complete_one(engine: Engine) -> None:
    quick = scan_request("quick")
    first = scan_of(engine, "done", request=quick)
    scan_of(engine, "done", request=quick | {"stop_on_regression": True})
    assert previous_scan(engine, scan_of(engine, "done", request=quick)) == first


def test_the_difference_is_shown_by_kind() -> None:
    before = audited("at", 80)
    after = audited("at", 40)
    assert (before, after) == (1, 2)
    server = client()
    assert f'<a href="/scans/{after}/difference">Difference to scan {before}</a>' in server.get("/scans/2").text
    page = server.get("/scans/2/difference").text
    assert "<h2>Worse (1)</h2>" in page
    assert "a robust accuracy of 40.0 % instead of 80.0 %" in page
    assert "there is nothing to compare with" in server.get("/scans/1/difference").text
    assert server.get("/scans/9/difference").status_code == 404


# The report.


def test_a_small_scan_has_a_report_to_download(engine: Engine) -> None:
    number = scan_of(engine, "done", "failed")
    answer = client().get(f"/scans/{number}/report")
    assert answer.headers["content-disposition"] == f'attachment; filename="scan-{number}.html"'
    assert "demo:0" in answer.text
    assert client().get("/scans/9/report").status_code == 404


@pytest.mark.parametrize("ends", [["queued"], ["done"] + ["queued"] * 50])
def test_no_report_says_why(engine: Engine, ends: list[str]) -> None:
    number = scan_of(engine, *ends)
    assert REPORT not in client().get(f"/scans/{number}").text
    answer = client().get(f"/scans/{number}/report")
    assert answer.status_code == 422
    assert "has no result yet" in answer.text or f"auditor report {number} -o report.html" in answer.text


# Workers and queues.


def test_workers_and_queues(engine: Engine) -> None:
    scan_of(engine, "running", "queued", "queued", request=scan_request("quick"))
    boost_of(engine, "running", worker="elsewhere-0a1b:8")
    boost_of(engine, "queued", queue="gpu")
    send_heartbeat(engine, "elsewhere-0a1b:9")
    server = client()
    found = server.get("/api/v1/workers").json()
    assert [(row["worker"], row["kind"], row["model"], row["part"], row["part_done"]) for row in found["workers"]] == [
        (WORKER, "audit", "demo:0", "fgsm", 3), ("elsewhere-0a1b:8", "boost", "demo:standard", "epoch 1", 2),
        ("elsewhere-0a1b:9", None, None, None, None),
    ]  # fmt: skip
    assert all(row["host"] == "elsewhere-0a1b" and row["silent_since"] is None for row in found["workers"])
    numbers = [[row[name] for name in ("queue", "queued", "running", "unserved")] for row in found["queues"]]
    assert numbers == [["cpu", 2, 2, False], ["gpu", 1, 0, True]]
    assert [len(row["workers"]) for row in found["queues"]] == [3, 0]
    page = server.get("/workers").text
    for words in ('<a href="/scans/1">scan 1</a>', '<a href="/boosts/1">boost 1</a>', "idle", LIVE,
                  "No worker serves the queue gpu", 'value="3" aria-label="fgsm"'):  # fmt: skip
        assert words in page
    assert "No worker serves the queue cpu" not in page
    age(engine, 75)
    page = server.get("/workers").text
    assert page.count(SILENT) == 3
    assert "No worker serves the queue cpu" in page


def test_no_workers_at_all() -> None:
    server = client()
    assert server.get("/api/v1/workers").json() == {"workers": [], "queues": []}
    page = server.get("/workers").text
    assert "No jobs are queued, and no worker serves a queue" in page
    assert server.get("/api/v1/workers?queue=cpu").status_code == 422


def test_a_silent_boost_says_so(engine: Engine) -> None:
    running, queued = boost_of(engine, "running"), boost_of(engine, "queued", queue="gpu")
    age(engine, 75)
    server = client()
    page = server.get(f"/boosts/{running}").text
    assert SILENT in page
    assert LIVE in page
    assert "No worker serves the queue gpu" in server.get(f"/boosts/{queued}").text
    assert server.get(f"/api/v1/boosts/{running}").json()["silent_since"] is not None


def test_a_closed_server_shows_nothing_of_scans(engine: Engine) -> None:
    number = finished(engine)
    server = client(open_reading=False)
    for path in (f"/scans/{number}", f"/scans/{number}/difference", f"/scans/{number}/report", "/workers", "/scans"):
        answer = server.get(path)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in"), path
    assert server.get("/api/v1/workers").status_code == 401
