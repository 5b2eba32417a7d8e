"""Spans: their parents, attributes, events and errors, in this process and from children."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from auditor import tracing
from auditor.compute.batches import in_batches
from auditor.config import settings
from auditor.db.retry import with_retries
from auditor.db.scans import load_request, retry_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import MeasurementError
from auditor.jobs.child import ChildProcess
from auditor.jobs.limits import Limits
from auditor.records import JobContext
from auditor.tracing.children import ChildSpans, PipeRecorder
from auditor.tracing.database import trace_transactions
from tests.factories.collector import ListRecorder
from tests.factories.records import REQUEST, entry


def test_a_span_has_its_parent_attributes_events_and_end(recorder: ListRecorder) -> None:
    with tracing.span("scan", models=2, source=None, **{"db.system.name": "sqlite"}) as scan:
        scan.set(scan=7)
        with tracing.part("attacks") as attacks, tracing.part("attack"):
            tracing.event("out of memory", batch_size=8)
        attacks.set(late=True)  # after its end: nothing
    one, two, three = recorder.spans
    assert (one.parent, two.parent, three.parent) == (None, one, two)
    assert one.attributes == {"auditor.models": 2, "db.system.name": "sqlite", "auditor.scan": 7}
    assert two.attributes == {}
    assert three.events == [("out of memory", {"auditor.batch_size": 8})]
    assert [span.error for span in recorder.spans] == [None, None, None]
    assert one.started <= two.started <= three.started <= three.ended <= two.ended <= one.ended


def test_an_error_fails_the_spans_that_it_leaves(recorder: ListRecorder) -> None:
    with pytest.raises(ValueError, match="wrong"), tracing.span("scan"), tracing.part("inner"):
        raise ValueError("wrong\nsecond line")
    assert [span.error for span in recorder.spans] == ["ValueError: wrong"] * 2
    with tracing.span("next") as span:
        span.fail("no weights")
    assert recorder.spans[-1].error == "no weights"
    assert recorder.spans[-1].parent is None


def test_a_part_of_nothing_is_not_recorded_nor_is_what_is_paused(recorder: ListRecorder) -> None:
    with tracing.part("alone"):
        tracing.event("alone")
    tracing.start_part("alone").end()
    with tracing.span("scan"), tracing.paused():
        assert not tracing.is_inside()
        with tracing.part("paused"):
            pass
    assert [span.name for span in recorder.spans] == ["scan"]


def test_a_named_parent_takes_precedence_and_a_span_may_have_begun_earlier(recorder: ListRecorder) -> None:
    began = datetime(2026, 11, 29, 12, tzinfo=UTC)
    with tracing.span("scan"), tracing.span("audit", parent="00-1-1-01", began=began, kind="consumer"):
        pass
    span = recorder.spans[1]
    assert (span.parent, span.kind, span.started) == ("00-1-1-01", "consumer", int(began.timestamp() * 1e9))


def test_without_a_recorder_nothing_is_recorded() -> None:
    with tracing.span("scan") as span, tracing.part("inner") as inner:
        span.set(scan=1)
        inner.fail("nobody hears it")
        tracing.event("nothing")
        assert tracing.carrier() == {}
        assert not tracing.is_inside()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "console, otlp"}, True),
    ],
)
def test_opentelemetrys_own_variables_decide(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_requested() == expected


@pytest.mark.long
def test_without_traces_opentelemetry_is_not_imported() -> None:
    """FastAPI imports its API, whatever auditor does, so the server is left out here."""
    code = (
        "import sys\nfrom auditor import tracing\nimport auditor.cli.run_scan, auditor.scans.local, workers.process\n"
        "tracing.check()\ntracing.set_up('scan')\n"
        "with tracing.span('scan'):\n    pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_what_a_child_sends_is_recorded_below_the_open_span(recorder: ListRecorder) -> None:
    with tracing.span("audit"):
        spans = ChildSpans()
        child = PipeRecorder(lambda message: spans.receive(*message))
        attacks = child.start("attacks", "internal", {"auditor.images": 4}, 0, 10)
        attack = child.start("attack", "internal", {}, attacks, 11)
        child.update(attack, {"auditor.images_in": 4})
        child.event(attack, "halved", {}, 12)
        child.end(attack, "ValueError: x", 13)
        child.start("lost", "internal", {}, attacks, 14)
        spans.close()
    audit, above, below, lost = recorder.spans
    assert (above.parent, below.parent, lost.parent) == (audit, above, above)
    assert (below.attributes, below.events) == ({"auditor.images_in": 4}, [("halved", {})])
    assert (below.error, below.started, below.ended) == ("ValueError: x", 11, 13)
    assert (above.error, lost.error) == ("its process ended", "its process ended")
    assert audit.error is None


def record_and_end(source: Any, entry: Any, request: str, context: JobContext) -> str:  # noqa: ARG001
    """A task of a child process."""
    with tracing.part("load"):
        pass
    with tracing.part("attack", images_in=3):
        tracing.event("halved")
        if request == "crash":
            import os

            os._exit(3)
    return "done"


@pytest.mark.long
@pytest.mark.parametrize("end", ["return", "crash"])
def test_a_real_child_records_also_if_it_crashes(recorder: ListRecorder, end: str) -> None:
    run = ChildProcess(task=record_and_end, limits=Limits(seconds=60, memory=2**40))
    with tracing.span("audit"):
        if end == "crash":
            with pytest.raises(MeasurementError, match="exit code 3"):
                run(None, None, end, JobContext())
        else:
            assert run(None, None, end, JobContext()) == "done"
    (audit,), (load,), (attack,) = map(recorder.named, ("audit", "load", "attack"))
    assert load.parent is audit
    assert attack.parent is audit
    assert attack.events == [("halved", {})]
    assert attack.error == ("its process ended" if end == "crash" else None)
    assert all(span.ended is not None for span in recorder.spans)


@pytest.mark.long
def test_a_child_outside_of_a_span_records_nothing(recorder: ListRecorder) -> None:
    run = ChildProcess(task=record_and_end, limits=Limits(seconds=60, memory=2**40))
    assert run(None, None, "return", JobContext()) == "done"
    assert recorder.spans == []


def test_halved_batches_are_an_event(recorder: ListRecorder) -> None:
    def work(part: slice) -> None:
        if part.stop - part.start > 2:
            raise torch.OutOfMemoryError

    with tracing.span("attack"):
        list(in_batches(work, 4, 8))
    assert recorder.spans[0].events == [
        ("out of memory: batches halved", {"auditor.batch_size": size}) for size in (4, 2)
    ]


def test_a_wait_for_the_database_is_an_event(recorder: ListRecorder) -> None:
    class Writer:
        patience, tries = 30.0, 0

        @with_retries
        def write(self) -> str:
            self.tries += 1
            if self.tries < 2:
                raise OperationalError("UPDATE", {}, Exception("server restarts"))
            return "written"

    with tracing.span("audit"):
        assert Writer().write() == "written"
    assert recorder.spans[0].events == [
        ("waiting for the database", {"auditor.reason": "server restarts", "auditor.tries": 1})
    ]


def test_transactions_are_spans_within_a_span(recorder: ListRecorder) -> None:
    engine = open_database(settings().database_url)
    recorder.spans.clear()
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    assert recorder.spans == []
    with tracing.span("scan"):
        with engine.begin() as connection:
            for _ in range(2):
                connection.execute(text("SELECT 'a password'"))
            connection.execute(text("UPDATE scans SET state = state"))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        with pytest.raises(Exception, match="nonsense"), engine.connect() as connection:
            connection.execute(text("nonsense"))
    scan, *found = recorder.spans
    assert [span.name for span in found] == ["transaction"] * 3
    assert all(span.parent is scan and span.kind == "client" and span.ended is not None for span in found)
    assert [span.attributes["db.query.summary"] for span in found] == ["SELECT UPDATE", "SELECT", "NONSENSE"]
    assert [span.attributes["auditor.statements"] for span in found] == [3, 1, 1]
    assert {span.attributes["db.system.name"] for span in found} == {engine.dialect.name}
    assert [span.error is None for span in found] == [True, True, False]
    assert "password" not in str(found)


def test_other_engines_are_not_traced(recorder: ListRecorder) -> None:
    traced, other = create_engine("sqlite://"), create_engine("sqlite://")
    trace_transactions(traced)
    with tracing.span("scan"), other.begin() as connection:
        connection.execute(text("SELECT 1"))
    assert [span.name for span in recorder.spans] == ["scan"]


@pytest.mark.usefixtures("recorder")
def test_a_stored_scan_carries_its_span_and_a_retried_one_the_new_span() -> None:
    engine = open_database(settings().database_url)
    store = Store(engine)
    with tracing.span("scan"):
        scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()], queue="cpu")
        first = tracing.carrier()
    assert job.request == REQUEST | first == load_request(engine, scan_id)
    assert store.load_job(job.audit_id).request[tracing.CARRIER] == first[tracing.CARRIER]
    attempt = store.claim(job.audit_id, "worker", 60, "cpu")
    assert store.fail(job.audit_id, attempt, "no weights")
    with tracing.span("scan"):
        (again,) = retry_scan(engine, scan_id, "cpu", None)
        second = tracing.carrier()
    assert first != second
    assert again.request[tracing.CARRIER] == second[tracing.CARRIER]
    assert load_request(engine, scan_id) == REQUEST | second


def test_without_traces_the_stored_request_is_as_it_was() -> None:
    engine = open_database(settings().database_url)
    scan_id, _ = Store(engine).create_scan("demo", REQUEST, [entry()], queue="cpu")
    assert load_request(engine, scan_id) == REQUEST
