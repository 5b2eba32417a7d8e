"""Spans of requests: those that change something, with the scan or boost that they start below them."""

import pytest

from auditor import tracing
from tests.factories.collector import ListRecorder
from tests.web.serving import client, token
from tests.workers.team import until

CARRIED = f"00-{7:032x}-{7:016x}-01"


@pytest.mark.long
def test_a_scan_that_is_started_over_http_is_below_its_request(recorder: ListRecorder) -> None:
    body = {"source": "demo", "protocol": "screen", "models": ["standard"]}
    with client() as server:
        given = token("scan")
        recorder.spans.clear()
        answer = server.post("/api/v1/scans", json=body, headers=given | {"traceparent": CARRIED})
        assert answer.status_code == 202, answer.text
        until(lambda: recorder.named("audit") and recorder.named("audit")[0].ended, 120, "the audit ends")
    (request,), (scan,), (audit,) = map(recorder.named, ("request", "scan", "audit"))
    assert (request.parent, request.kind) == (CARRIED, "server")
    assert request.attributes == {
        "http.request.method": "POST", "http.route": "/api/v1/scans", "http.response.status_code": 202,
    }  # fmt: skip
    assert scan.parent is request
    assert scan.attributes["auditor.scan"] == 1
    assert audit.parent == recorder.traceparent(scan)
    assert audit.attributes["auditor.outcome"] == "done"


def test_requests_that_only_read_and_refused_ones_are_not_recorded(recorder: ListRecorder) -> None:
    with client() as server:
        recorder.spans.clear()
        assert server.get("/api/v1/scans").status_code == 200
        assert server.post("/sign-in", headers={"Origin": "http://elsewhere"}).status_code == 403
    assert recorder.spans == []


@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/api/v1/scans", 401, "/api/v1/scans"),
        ("/api/v1/scans/17/cancel", 401, "/api/v1/scans/{number}/cancel"),
        ("/nothing/17", 404, None),
    ],
)
def test_a_request_that_fails_has_its_status_and_route(
    recorder: ListRecorder, path: str, status: int, route: str | None
) -> None:
    with client() as server:
        recorder.spans.clear()
        assert server.post(path, json={}, headers={"Origin": "http://testserver"}).status_code == status
    (request,) = recorder.named("request")
    assert request.attributes["http.response.status_code"] == status
    assert request.attributes.get("http.route") == route
    assert request.error is None


def test_without_traces_the_server_has_no_such_middleware() -> None:
    assert not tracing.is_on()
    with client() as server:
        names = [one.cls.__name__ for one in server.app.user_middleware]
    assert "RequestSpans" not in names
