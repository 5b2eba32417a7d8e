"""Spans on their way to a collector: what it gets, and that nothing depends on it."""

import logging
import sys
import time

import pytest

from auditor import tracing
from auditor.config import settings
from auditor.errors import EnvironmentUnusableError
from auditor.text import redaction
from tests.factories.collector import Collector
from tests.factories.command import run

GONE = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens


def record() -> float:
    """Record a span and send it; the seconds that sending takes at the end."""
    with tracing.span("scan"), tracing.part("part"):
        pass
    started = time.monotonic()
    tracing.shut_down()
    return time.monotonic() - started


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_collector_gets_spans_with_parents_and_the_program(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=key-of-the-team")
    tracing.set_up("worker")
    with tracing.span("scan", scan=3, share=0.5, early=True, source="demo") as scan, tracing.part("send") as part:
        tracing.event("retry", tries=2)
        part.fail("away")
        carried = tracing.carrier()[tracing.CARRIER]
        scan.set(models=1)
    with tracing.span("audit", kind="consumer", parent=carried):
        pass
    tracing.shut_down()
    send, scan_, audit = collector.spans
    assert {span.trace for span in collector.spans} == {carried.split("-")[1]}
    assert (scan_.parent, send.parent, audit.parent) == ("", scan_.id, send.id)
    assert scan_.attributes == {
        "auditor.scan": 3, "auditor.share": 0.5, "auditor.early": True, "auditor.source": "demo", "auditor.models": 1,
    }  # fmt: skip
    assert send.events == {"retry": {"auditor.tries": 2}}
    assert [span.error for span in collector.spans] == ["away", None, None]
    assert (scan_.kind, audit.kind) == (1, 5)
    assert scan_.resource["service.name"] == "auditor"
    assert scan_.resource["auditor.program"] == "worker"
    assert collector.headers["x-team"] == "key-of-the-team"
    assert redaction.redact("sent key-of-the-team") == "sent ***"


def test_the_name_and_attributes_of_the_service_are_the_users(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,service.version=7")
    tracing.set_up("scan")
    record()
    resource = collector.spans[0].resource
    assert resource["service.name"] == "nightly"
    assert (resource["deployment.environment.name"], resource["service.version"]) == ("lab", "7")


def test_a_sampler_decides_and_what_follows_keeps_to_it(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracing.set_up("scan")
    with tracing.span("scan"):
        carried = tracing.carrier()[tracing.CARRIER]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    tracing.set_up("worker")
    with tracing.span("audit", parent=carried):
        pass
    tracing.shut_down()
    assert collector.spans == []


def test_no_secret_gets_into_a_span(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://:br0ker-geheim@127.0.0.1:1/0")
    settings.cache_clear()
    settings()
    tracing.set_up("scan")
    with tracing.span("scan", url="postgresql://me:db-geheim@host/name?sslmode=x") as span:
        tracing.event("retry", reason="tried br0ker-geheim\x1b[31m")
        span.set(reason="password=db-geheim")
        span.fail("RuntimeError: cannot reach amqp://me:mq-geheim@host/")
    tracing.shut_down()
    assert b"geheim" not in collector.raw
    (scan,) = collector.spans
    assert scan.error == "RuntimeError: cannot reach amqp://***@host/"
    assert scan.events["retry"]["auditor.reason"] == "tried *** [31m"


def test_a_traceparent_that_is_none_begins_a_new_trace(collector: Collector) -> None:
    tracing.set_up("worker")
    with tracing.span("audit", parent="00-nonsense"):
        pass
    tracing.shut_down()
    assert collector.spans[0].parent == ""


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["gone", "slow", 500, 503])
def test_a_collector_in_trouble_costs_one_line_and_seconds(
    trouble: str | int,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    if trouble == "gone":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", GONE)
    elif trouble == "slow":
        collector.delay = 60
    else:
        collector.status = int(trouble)
    tracing.set_up("scan")
    for _ in range(3):
        with tracing.span("scan"):
            pass
        time.sleep(0.3)  # each is a batch of its own
    assert record() < 20  # three seconds, on a busy machine; without a limit it is half a minute or more
    (line,) = complaints(caplog)
    assert "does not take spans, so they are lost; the work continues; see `auditor doctor`" in line


@pytest.mark.long
def test_a_collector_that_was_away_is_complained_about_again_only_after_it_was_back(
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracing.set_up("worker")
    for status in (500, 500, 200, 500):
        before, collector.status = collector.requests, status
        with tracing.span("audit"):
            pass
        while collector.requests == before:
            time.sleep(0.05)
        time.sleep(0.3)
    assert len(complaints(caplog)) == 2
    tracing.shut_down()


def test_the_url_in_the_line_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:geheim@127.0.0.1:9")
    tracing.set_up("scan")
    record()
    (line,) = complaints(caplog)
    assert "http://***@127.0.0.1:9/v1/traces" in line
    assert "geheim" not in caplog.text


def test_a_missing_extra_is_one_line_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", GONE)
    monkeypatch.delitem(sys.modules, "auditor.tracing.otlp", raising=False)
    monkeypatch.delattr(tracing, "otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    line = (
        "error: OTEL_EXPORTER_OTLP_ENDPOINT requests traces, which need OpenTelemetry: pip install "
        "'auditor[telemetry]', or set OTEL_TRACES_EXPORTER=none\n"
    )
    for command in (("scan", "demo"), ("serve", "--port", "0"), ("worker",)):
        result = run(*command)
        assert (result.exit_code, result.stderr) == (3, line), command


def test_a_protocol_that_auditor_does_not_send_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", GONE)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(EnvironmentUnusableError, match=r"PROTOCOL: expected http/protobuf, got 'grpc'; .*port 4318"):
        tracing.check()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    tracing.check()


def test_a_value_that_opentelemetry_cannot_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", GONE)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    with pytest.raises(EnvironmentUnusableError, match=r"OpenTelemetry: .*see the variables OTEL_"):
        tracing.set_up("scan")
    assert not tracing.is_on()
