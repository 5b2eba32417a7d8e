"""A collector of OpenTelemetry on this machine, which decodes what it is sent; and a recorder without a collector."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from auditor import tracing
from auditor.tracing import Kind


@dataclass
class Received:
    """A span; ``parent`` is empty for the first one of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    seconds: float
    attributes: dict[str, Any]
    events: dict[str, dict[str, Any]]
    error: str | None
    resource: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]


class Collector:
    """Answers each request with ``status``, after ``delay`` seconds."""

    def __init__(self) -> None:
        self.status, self.delay, self.requests = 200, 0.0, 0
        self.raw, self.spans, self.headers = b"", list[Received](), dict[str, str]()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers = dict(self.headers)
                time.sleep(collector.delay)
                if collector.status == 200 and self.path == "/v1/traces":
                    collector.raw += body
                    collector.spans += decode(body)
                try:
                    self.send_response(collector.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # the client has ended

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def named(self, name: str) -> list[Received]:
        return [span for span in self.spans if span.name == name]

    def above(self, span: Received) -> list[str]:
        """The names of a span's parents, the first one of the trace first."""
        ids = {one.id: one for one in self.spans}
        found: list[str] = []
        while span.parent:
            span = ids[span.parent]
            found.insert(0, span.name)
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def decode(body: bytes) -> Iterator[Received]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    for of_resource in request.resource_spans:
        resource = _values(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=span.kind,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    attributes=_values(span.attributes),
                    events={event.name: _values(event.attributes) for event in span.events},
                    error=span.status.message if span.status.code == 2 else None,
                    resource=resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the variables of this test name."""
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    yield made
    tracing.shut_down()
    made.close()


@dataclass
class Recorded:
    """A span of :class:`ListRecorder`."""

    name: str
    kind: str
    attributes: dict[str, Any]
    parent: Any
    started: int
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: str | None = None
    ended: int | None = None


class ListRecorder:
    """Records spans in a list, in the order in which they start."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def start(self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any, at: int) -> Recorded:
        self.spans.append(Recorded(name, kind, dict(attributes), parent, at))
        return self.spans[-1]

    def update(self, span: Recorded, attributes: Mapping[str, Any]) -> None:
        span.attributes.update(attributes)

    def event(self, span: Recorded, name: str, attributes: Mapping[str, Any], at: int) -> None:  # noqa: ARG002
        span.events.append((name, dict(attributes)))

    def end(self, span: Recorded, error: str | None, at: int) -> None:
        assert span.ended is None, "ended twice"
        span.error, span.ended = error, at

    def traceparent(self, span: Recorded) -> str:
        return f"00-{1:032x}-{1 + self.spans.index(span):016x}-01"

    def named(self, name: str) -> list[Recorded]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def recorder() -> Iterator[ListRecorder]:
    """Records the spans of this process."""
    made = ListRecorder()
    tracing.record_with(made)
    yield made
    tracing.record_with(None)
