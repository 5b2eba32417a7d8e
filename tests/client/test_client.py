"""The client against a real server: the rows, files and errors that the server's own database holds."""

import hashlib
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from sqlalchemy import create_engine

from auditor.client import AccessDeniedError, BoostBody, Client, ScanBody, ScheduleBody, client, models
from auditor.config import settings
from auditor.db.filters import SORTABLE
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.tokens import add_token
from auditor.errors import ConflictError, EnvironmentUnusableError, NotFoundError, UsageError
from auditor.results.serialize import nan_to_none, serialize
from auditor.web.app import create_app
from tests import client_models
from tests.factories.adaptations import adapted
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.records import REQUEST, entry
from tests.web.serving import boosted

METHODS = {
    "get /health": "get_health",
    "get /models": "list_models",
    "get /models/{name}": "get_model",
    "get /results": "list_results",
    "get /audits": "list_audits",
    "get /results/{number}": "get_result",
    "get /results/{number}/matrices/{kind}": "get_matrix",
    "get /results/{number}/matrices/{kind}/picture": "get_matrix_picture",
    "get /audits/{number}/curve": "get_curve",
    "get /comparison": "compare",
    "get /scans": "list_scans",
    "post /scans": "start_scan",
    "get /scans/{number}": "get_scan",
    "get /scans/{number}/events": "follow_scan",
    "post /scans/{number}/cancel": "cancel_scan",
    "post /scans/{number}/retry": "retry_scan",
    "get /boosts": "list_boosts",
    "post /boosts": "start_boost",
    "get /boosts/{number}": "get_boost",
    "get /boosts/{number}/events": "follow_boost",
    "post /boosts/{number}/cancel": "cancel_boost",
    "post /boosts/{number}/resume": "resume_boost",
    "get /adaptations": "list_adaptations",
    "get /adaptations/{number}": "get_adaptation",
    "get /adaptations/{number}/events": "follow_adaptation",
    "post /adaptations/{number}/cancel": "cancel_adaptation",
    "get /checkpoints": "list_checkpoints",
    "get /checkpoints/{number}": "get_checkpoint",
    "get /checkpoints/{number}/weights": "download_weights",
    "get /schedules": "list_schedules",
    "put /schedules/{name}": "put_schedule",
    "post /schedules/{name}/run": "run_schedule",
    "delete /schedules/{name}": "delete_schedule",
    "get /workers": "list_workers",
}


def test_every_operation_and_query_parameter_has_its_method_and_argument() -> None:
    operations = {
        f"{method} {path.removeprefix('/api/v1')}": operation
        for path, methods in create_app(create_engine("sqlite://")).openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == set(METHODS)
    for name, operation in operations.items():
        arguments = set(inspect.signature(getattr(Client, METHODS[name])).parameters)
        if "filters" in arguments:
            arguments |= set(get_type_hints(client.ResultFilters))
        expected = {parameter["name"] for parameter in operation.get("parameters", ())} - {"cursor"}
        assert arguments >= expected, name


@pytest.mark.long
def test_the_types_are_those_of_the_present_api() -> None:
    assert client_models.FILE.read_text() == client_models.generate(), "run `make client`"


@pytest.mark.long
def test_lists_are_read_through_all_pages(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.client.listing.LARGEST_PAGE", 5)
    for number in range(12):
        audited(f"m{number:02}", [50, 60, 70][number % 3])
    engine = open_database(settings().database_url)
    with Client(url) as reader:
        for sort in ("model", "-robust_accuracy", "-gap"):
            stored = [nan_to_none(serialize(row)) for row in list_results(engine, Filter(), sort=sort)]
            found = list(reader.list_results(sort=sort))
            assert [row.id for row in found] == [row["id"] for row in stored]
            for row, expected in zip(found, stored, strict=True):
                times = {name: datetime.fromisoformat(expected[name]) for name in ("started_at", "finished_at")}
                assert {name: getattr(row, name) for name in expected} == expected | times
        assert len(list(reader.list_results(limit=7))) == 7
        assert [row.model for row in reader.list_models(limit=3)] == ["demo:m00", "demo:m01", "demo:m02"]
        assert {row.robust_accuracy for row in reader.list_results(match="m0[036]", protocol="quick")} == {0.5}
        assert not list(reader.list_results(since=datetime(2126, 1, 1, tzinfo=UTC)))
        assert "gap" in SORTABLE


def test_data_frames(url: str) -> None:
    audited("weak", 20, training={"method": "standard"})
    audited("strong", 80, training={"method": "at", "eps": 0.1})
    with Client(url) as reader:
        listing = reader.list_results(sort="model")
        pandas_frame, polars_frame = listing.to_pandas(), listing.to_polars()
        assert list(pandas_frame.columns) == polars_frame.columns
        assert pandas_frame["model"].tolist() == polars_frame["model"].to_list() == ["demo:strong", "demo:weak"]
        assert pandas_frame["robust_accuracy"].tolist() == polars_frame["robust_accuracy"].to_list() == [0.8, 0.2]
        assert str(pandas_frame["started_at"].dt.tz) == "UTC"
        assert pandas_frame["training"].tolist() == [{"method": "at", "eps": 0.1}, {"method": "standard"}]
        assert polars_frame["training"][0]["method"] == "at"
        nothing = reader.list_results(model="demo:none")
        assert list(nothing.to_pandas().columns) == nothing.to_polars().columns == polars_frame.columns


@pytest.mark.long
def test_every_object_is_read_with_its_type(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()
    engine = open_database(settings().database_url)
    strong, weak = audited("strong", 80), audited("weak", 30)
    content = boosted(weak, strong)
    adaptation = adapted()
    assert run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo").exit_code == 0
    with Client(url, add_token(engine, "reader", "read")) as reader:
        assert reader.get_health().status == "ok"
        assert reader.get_model("demo:strong").results[0].robust_accuracy == 0.8
        detail = reader.get_result(strong)
        assert detail.verdicts is not None
        assert sum(detail.verdicts.survived) == 80
        compared = reader.compare("strong", "weak")
        assert (compared.robust.only_a, compared.robust.only_b) == (50, 0)
        assert reader.get_scan(1).audits[0].model == "demo:strong"
        assert [scan.scan for scan in reader.list_scans(state="done")] == [2, 1]
        (boost,) = reader.list_boosts()
        assert boost == reader.get_boost(boost.id)
        assert boost.recipe.eps == 0.1
        assert reader.get_adaptation(adaptation) == next(iter(reader.list_adaptations(state="done")))
        (checkpoint,) = reader.list_checkpoints()
        assert checkpoint.id == boost.id
        path = reader.download_weights(checkpoint.id, tmp_path / "weights.safetensors")
        assert path.read_bytes() == content
        assert reader.get_checkpoint(checkpoint.id).file_sha256 == hashlib.sha256(content).hexdigest()
        (schedule,) = reader.list_schedules()
        assert (schedule.name, schedule.cron) == ("nightly", "0 2 * * *")
        assert isinstance(reader.list_workers(), models.Workers)


def test_admins_change_schedules(url: str) -> None:
    with Client(url, add_token(open_database(settings().database_url), "boss", "admin")) as admin:
        body = ScheduleBody(cron="0 3 * * 1", scan=ScanBody(source="demo", protocol="screen"), enabled=False)
        assert admin.put_schedule("weekly", body).command == ["auditor", "scan", "demo", "--protocol=screen"]
        assert [row.enabled for row in admin.list_schedules()] == [False]
        assert admin.delete_schedule("weekly") is None
        assert admin.list_schedules() == []


@pytest.mark.long
def test_a_scan_is_started_followed_and_waited_for(url: str) -> None:
    with Client(url, add_token(open_database(settings().database_url), "ci", "scan")) as scanner:
        body = ScanBody(source="demo", models=["standard", "at-eps0.10"], protocol="screen")
        started = scanner.start_scan(body)
        seen = list(scanner.follow_scan(started.scan))
        assert {len(scan.audits) for scan in seen} == {2}
        ended = scanner.wait_for_scan(started.scan)
        assert (ended.state, ended.done) == ("done", 2)
        frame = scanner.list_results(scan=started.scan, sort="-screen_score").to_pandas()
        assert frame["model"].tolist() == ["demo:at-eps0.10", "demo:standard"]
        with pytest.raises(ConflictError):
            scanner.retry_scan(started.scan)


def test_waiting_has_an_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.05)
    engine = open_database(settings().database_url)
    Store(engine).create_scan("demo", REQUEST, [entry("waits")], queue="cpu")
    with Client(url) as reader, pytest.raises(TimeoutError, match=r"has not ended within 0\.2 s; its state is running"):
        reader.wait_for_scan(1, timeout=0.2)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (lambda reader: reader.get_result(7), NotFoundError, "there is no result 7 (HTTP 404 from 127.0.0.1)"),
        (lambda reader: reader.get_model("demo:a/b?c#d%2F"), NotFoundError, "demo:a/b?c#d%2F"),
        (lambda reader: reader.get_model(""), UsageError, "name: expected a name"),
        (lambda reader: list(reader.list_results(eps=-1)), UsageError, "eps: expected"),
        (lambda reader: list(reader.list_results(limit=0)), UsageError, "limit: expected 1 or more, got 0"),
        (lambda reader: reader.start_scan(ScanBody(source="demo")), AccessDeniedError, "token"),
        (lambda reader: reader.start_boost(BoostBody(model="demo:standard")), AccessDeniedError, "token"),
        (lambda reader: reader.cancel_scan(3), AccessDeniedError, "token"),
        (lambda reader: reader.download_weights(1, "nowhere"), AccessDeniedError, "token"),
        (lambda reader: list(reader.follow_scan(9)), NotFoundError, "there is no scan 9"),
    ],
)  # fmt: skip
def test_errors_have_the_type_of_their_cause(
    request_: Callable[[Client], object], error: type[Exception], words: str, url: str
) -> None:
    with Client(url) as reader, pytest.raises(error) as raised:
        request_(reader)
    assert words in str(raised.value)
    assert type(raised.value) is error
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("audits.example.com", None, "expected an address such as https://"),
        ("ftp://audits.example.com", None, "expected an address such as https://"),
        ("https://me:secret@audits.example.com", None, "without user and password"),
        ("http://audits.example.com", "auditor_1_x", "would send the token unencrypted to audits.example.com"),
        ("http://192.0.2.7:8000", "auditor_1_x", "unencrypted"),
        ("https://audits.example.com", "auditor_1_x\n", "token: expected what `auditor tokens add` has printed"),
    ],
)
def test_addresses_and_tokens_are_checked(url: str, token: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        Client(url, token)
    assert "secret" not in str(raised.value)
    Client("http://audits.example.com", "auditor_1_x", insecure=True).close()
    Client("http://[::1]:8000", "auditor_1_x").close()


def test_a_server_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.client.connection.TRIES", 2)
    with Client("http://127.0.0.1:9") as reader, pytest.raises(EnvironmentUnusableError, match="cannot reach"):
        reader.get_health()


Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def answers() -> Iterator[tuple[str, list[Answer], list[str]]]:
    """The address of a server that gives these answers in turn, and the requests that it has received."""
    script: list[Answer] = []
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            requests.append(f"{self.command} {self.path}")
            status, headers, body = script.pop(0)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", script, requests
    server.shutdown()
    thread.join()
    server.server_close()


OK: Answer = (200, {}, json.dumps({"status": "ok", "version": "1", "added later": 7}).encode())
BUSY: Answer = (503, {"Retry-After": "0"}, b'{"detail": "the database is not usable"}')
LIMITED: Answer = (429, {"Retry-After": "0"}, b'{"detail": "too many requests"}')
Served = tuple[str, list[Answer], list[str]]


def test_reading_is_repeated_while_the_server_is_busy(answers: Served) -> None:
    url, script, requests = answers
    script += [BUSY, LIMITED, OK]
    with Client(url) as reader:
        assert reader.get_health().version == "1"
    assert requests == ["GET /api/v1/health"] * 3


def test_what_the_server_may_have_run_is_not_repeated(answers: Served) -> None:
    url, script, requests = answers
    script += [(502, {}, b"<html>no JSON</html>"), LIMITED, (500, {}, b'{"detail": "crashed"}')]
    with Client(url) as writer:
        with pytest.raises(EnvironmentUnusableError, match=r"Bad Gateway \(HTTP 502 from 127.0.0.1\)"):
            writer.start_scan(ScanBody(source="demo"))
        with pytest.raises(EnvironmentUnusableError, match="crashed"):
            writer.start_scan(ScanBody(source="demo"))
    assert requests == ["POST /api/v1/scans"] * 3


def test_a_change_is_not_repeated_when_the_database_failed_which_may_be_after_it(answers: Served) -> None:
    url, script, requests = answers
    script += [BUSY, BUSY]
    with Client(url) as writer, pytest.raises(EnvironmentUnusableError, match="the database is not usable"):
        writer.start_scan(ScanBody(source="demo"))
    assert requests == ["POST /api/v1/scans"]


def test_an_answer_of_another_kind_is_one_line(answers: Served) -> None:
    url, script, _ = answers
    script += [(200, {}, b"<html>a sign-in page</html>"), (302, {"Location": "/sign-in"}, b""), (200, {}, b"{}")]
    with Client(url) as reader:
        for words in ("cannot read", "HTTP 302", "missing required field"):
            with pytest.raises(EnvironmentUnusableError, match=words):
                reader.get_health()


def test_weights_that_were_changed_on_the_way_are_not_stored(answers: Served, tmp_path: Path) -> None:
    url, script, _ = answers
    target = tmp_path / "weights.safetensors"
    target.write_bytes(b"older")
    script += [(200, {"Repr-Digest": "sha-256=:AAAA:"}, b"weights"), (200, {"Content-Length": "100"}, b"broken off")]
    with Client(url, "auditor_1_x") as reader:
        with pytest.raises(EnvironmentUnusableError, match="checkpoint 1 was changed on its way"):
            reader.download_weights(1, target)
        with pytest.raises(EnvironmentUnusableError, match="cannot reach"):
            reader.download_weights(1, target)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"older"


def test_a_stream_that_breaks_off_is_opened_again(answers: Served, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(client, "RECONNECT_SECONDS", 0.0)
    audited("one", 50)
    with Client(url) as reader:
        scan = json.loads(reader._connection.get("/scans/1").content)
    running = scan | {"state": "running", "audits": [scan["audits"][0] | {"state": "running"}]}
    head = {"Content-Type": "text/event-stream", "Connection": "close"}
    first = f"event: scan\ndata: {json.dumps(running)}\n\n".encode()
    rest = f'event: scan\ndata: {json.dumps(scan)}\n\nevent: end\ndata: {{"scan": 1, "state": "done"}}\n\n'.encode()
    address, script, requests = answers
    script += [(200, head, first), BUSY, (200, head, first + rest)]
    with Client(address) as reader:
        seen = list(reader.follow_scan(1))
    assert [(found.state, found.audits[0].state) for found in seen] == [
        ("running", "running"), ("running", "running"), ("done", "done")
    ]  # fmt: skip
    assert len(requests) == 3
