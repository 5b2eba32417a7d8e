"""Sends spans to a collector by OTLP over HTTP, as OpenTelemetry's own variables say. All of OpenTelemetry is here."""

import atexit
import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from auditor import tracing
from auditor.errors import EnvironmentUnusableError, first_line, one_line
from auditor.text import redaction
from auditor.tracing import CARRIER, ENDPOINTS, Kind

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0
"""How long a process that ends sends its last spans."""
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""Their values are often keys."""
LOSSES = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)
"""The loggers that report spans that were not sent, each of them several times."""
W3C = TraceContextTextMapPropagator()


def check_variables() -> None:
    """Hide the secrets in OpenTelemetry's variables.

    Raises:
        EnvironmentUnusableError: a variable asks for another protocol than the one that auditor sends.
    """
    for name in HEADERS:
        for header in os.environ.get(name, "").split(","):
            redaction.hide(header.partition("=")[2].strip())
    for name in ENDPOINTS:
        redaction.hide_secrets_of(os.environ.get(name, ""))
    for name in PROTOCOLS:  # the first that is set counts
        protocol = os.environ.get(name, "").strip()
        if protocol not in ("", "http/protobuf"):
            raise EnvironmentUnusableError(
                f"{name}: expected http/protobuf, got {protocol!r}; collectors usually take it at port 4318"
            )
        if protocol:
            return


def shown_endpoint() -> str:
    """The collector's URL for people, without secrets."""
    specific, common = (os.environ.get(name, "") for name in ENDPOINTS)
    return redaction.redact(specific or f"{common.removesuffix('/')}/v1/traces")


class _Complaints(logging.Handler):
    """Takes what OpenTelemetry logs, and logs one line of its own instead, until spans arrive again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.is_logged, self.first, self._endpoint = False, "", shown_endpoint()

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or _reason(record.getMessage())
        self.log()

    def log(self) -> None:
        if not self.is_logged:
            self.is_logged = True
            logger.warning(
                "traces: %s does not take spans, so they are lost; the work continues; see `auditor doctor`",
                self._endpoint,
            )


def _reason(message: str) -> str:
    """The innermost cause of a connection that failed, which urllib3 wraps in long sentences; else the message."""
    found = re.search(r""": ([^:"']+)["')]+ encountered while""", message)
    return one_line(found[1] if found else message)


class _Exporter(OTLPSpanExporter):
    def __init__(self, complaints: _Complaints, timeout: float | None = None) -> None:
        super().__init__(timeout=timeout)
        self._complaints = complaints

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._complaints.is_logged = False
        return result


class OtlpRecorder:
    """Records spans with OpenTelemetry's SDK, which sends them from a thread of its own."""

    def __init__(self, provider: TracerProvider, complaints: _Complaints) -> None:
        self._provider, self._complaints = provider, complaints
        self._tracer = provider.get_tracer("auditor", version("auditor"))

    def start(self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any, at: int) -> Span:
        if isinstance(parent, str):
            context = W3C.extract({CARRIER: parent}, Context())
        else:
            context = Context() if parent is None else set_span_in_context(parent, Context())
        return self._tracer.start_span(name, context, SpanKind[kind.upper()], _cleaned(attributes), start_time=at)

    def update(self, span: Span, attributes: Mapping[str, Any]) -> None:
        span.set_attributes(_cleaned(attributes))

    def event(self, span: Span, name: str, attributes: Mapping[str, Any], at: int) -> None:
        span.add_event(name, _cleaned(attributes), at)

    def end(self, span: Span, error: str | None, at: int) -> None:
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, one_line(error)))
        span.end(at)

    def traceparent(self, span: Span) -> str | None:
        found: dict[str, str] = {}
        W3C.inject(found, set_span_in_context(span, Context()))
        return found.get(CARRIER)

    def close(self) -> None:
        """Send the last spans, for at most ``CLOSE_SECONDS``."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            self._complaints.log()


def make_recorder(program: str) -> OtlpRecorder:
    """A recorder that sends spans to the collector.

    Raises:
        EnvironmentUnusableError: a variable has a value that auditor or OpenTelemetry cannot use.
    """
    check_variables()
    complaints = _take_logs()
    try:
        provider = TracerProvider(resource=_resource(program), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_Exporter(complaints)))
    except Exception as error:  # a value that the SDK does not understand
        raise EnvironmentUnusableError(f"OpenTelemetry: {first_line(error)}; see the variables OTEL_…") from error
    atexit.unregister(tracing.shut_down)
    atexit.register(tracing.shut_down)
    return OtlpRecorder(provider, complaints)


def why_not_taken(seconds: float = 3.0) -> str | None:
    """Send no spans to the collector; returns why it does not take them, or None if it does."""
    complaints = _take_logs()
    complaints.is_logged = True
    exporter = _Exporter(complaints, seconds)
    try:
        result = exporter.export(())
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
    return None if result is SpanExportResult.SUCCESS else complaints.first or "no answer"


def _take_logs() -> _Complaints:
    """A new handler for what OpenTelemetry logs about lost spans in this process."""
    complaints = _Complaints()
    for name in LOSSES:
        logging.getLogger(name).handlers[:] = [complaints]
        logging.getLogger(name).propagate = False
    return complaints


def _resource(program: str) -> Resource:
    """What all spans of this process have in common; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    given = dict(Resource.create().attributes)
    if str(given[SERVICE_NAME]).startswith("unknown_service"):  # what OpenTelemetry calls a service without a name
        del given[SERVICE_NAME]
    ours = {
        SERVICE_NAME: "auditor",
        "service.version": version("auditor"),
        "auditor.program": program,
    }
    return Resource({**ours, **given})


def _cleaned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes whose texts are one printable line without secrets."""
    return {name: one_line(value) if isinstance(value, str) else value for name, value in attributes.items()}
