"""Traces of scans, audits and their parts, if OpenTelemetry's variables name a collector. Else nothing is done.

Rooms open spans with :func:`span` and :func:`part`. Only :mod:`auditor.tracing.otlp` imports OpenTelemetry, and only
if traces are requested. A child process records its spans over the pipe to its parent: :mod:`auditor.tracing.children`.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, Protocol

from auditor.errors import EnvironmentUnusableError, first_line

Kind = Literal["internal", "server", "producer", "consumer", "client"]
"""OpenTelemetry's kinds: work for a client, messages to workers and their work, and queries to a database."""
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's variables that request traces; the first takes precedence, and is used as it is."""
CARRIER = "traceparent"
"""The name of a span in the stored request of a scan or training, as in W3C Trace Context."""


class Recorder(Protocol):
    """Where spans go: to a collector, or to the process that started this one. Times are nanoseconds since 1970."""

    def start(self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any, at: int) -> Any:
        """Start a span and return it; ``parent`` is another span, its traceparent, or None."""

    def update(self, span: Any, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a span."""

    def event(self, span: Any, name: str, attributes: Mapping[str, Any], at: int) -> None:
        """Add an event to a span."""

    def end(self, span: Any, error: str | None, at: int) -> None:
        """End a span; ``error``: why its work failed."""

    def traceparent(self, span: Any) -> str | None:
        """The span as W3C Trace Context."""


_recorder: Recorder | None = None
_current: ContextVar[Any] = ContextVar("span", default=None)


class Span:
    """A span from its start to its end. Nothing is recorded without traces."""

    def __init__(self, recorder: Recorder | None = None, recorded: Any = None) -> None:
        self._recorder, self._recorded = recorder, recorded
        self._error: str | None = None

    def set(self, **attributes: Any) -> None:
        """Add attributes, named as in :func:`span`."""
        if self._recorder is not None:
            self._recorder.update(self._recorded, _named(attributes))

    def fail(self, reason: str) -> None:
        """Mark the work as failed."""
        self._error = reason

    def end(self) -> None:
        """End the span, once."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.end(self._recorded, self._error, time.time_ns())


_NOTHING = Span()


def is_on() -> bool:
    """Whether this process records spans."""
    return _recorder is not None


def is_inside() -> bool:
    """Whether a span is open here, of which :func:`part` would record a part."""
    return _recorder is not None and _current.get() is not None


@contextlib.contextmanager
def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, began: datetime | None = None, **attributes: Any
) -> Iterator[Span]:
    """Record a span of the open one, or of ``parent``, or of a new trace.

    Args:
        name: the same for all spans of a kind, without IDs.
        kind: which process waits for which.
        parent: the traceparent of a span of another process, perhaps an ended one; it takes precedence.
        began: when the work began, if that was before now.
        attributes: numbers, texts and bools; None is left out. A name without a dot gets the prefix ``auditor.``.

    Example:
        >>> with span("scan", models=2) as scan:
        ...     scan.set(scan=7)
    """
    if _recorder is None:
        yield _NOTHING
        return
    at = time.time_ns() if began is None else int(began.timestamp() * 1e9)
    recorded = _recorder.start(name, kind, _named(attributes), parent or _current.get(), at)
    opened, token = Span(_recorder, recorded), _current.set(recorded)
    try:
        yield opened
    except BaseException as error:
        opened.fail(f"{type(error).__name__}: {first_line(error)}")
        raise
    finally:
        _current.reset(token)
        opened.end()


@contextlib.contextmanager
def part(name: str, *, kind: Kind = "internal", **attributes: Any) -> Iterator[Span]:
    """Record a span of the open one; nothing where no span is open."""
    if not is_inside():
        yield _NOTHING
        return
    with span(name, kind=kind, **attributes) as opened:
        yield opened


def start_part(name: str, *, kind: Kind = "internal", **attributes: Any) -> Span:
    """As :func:`part`, for work that is no block of code: the caller ends the span, and it has no parts itself."""
    if _recorder is None or _current.get() is None:
        return _NOTHING
    return Span(_recorder, _recorder.start(name, kind, _named(attributes), _current.get(), time.time_ns()))


def event(name: str, **attributes: Any) -> None:
    """Record an event of the open span."""
    if _recorder is not None and (current := _current.get()) is not None:
        _recorder.event(current, name, _named(attributes), time.time_ns())


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Record no parts of the open span in this context, which repeats a query until something has happened."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def carrier() -> dict[str, str]:
    """What the stored request of a job needs, so that its spans become parts of the open span; empty without one."""
    if _recorder is None or (current := _current.get()) is None:
        return {}
    found = _recorder.traceparent(current)
    return {} if found is None else {CARRIER: found}


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with their full names, without those that are None."""
    return {
        name if "." in name else f"auditor.{name}": value for name, value in attributes.items() if value is not None
    }


def is_requested() -> bool:
    """Whether OpenTelemetry's variables name a collector, and none of them turns traces off."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return "otlp" in exporters.replace(" ", "").split(",") and any(os.environ.get(name) for name in ENDPOINTS)


def check() -> None:
    """Check what :func:`set_up` needs.

    Raises:
        EnvironmentUnusableError: traces are requested, and OpenTelemetry is not installed, or a variable asks for what
            auditor cannot do.
    """
    if is_requested():
        _otlp().check_variables()


def set_up(program: str) -> None:
    """Record the spans of this process if traces are requested; a child process uses those of its parent.

    Call this after a fork, and before the database is opened. At the exit of the process, spans are sent for some
    seconds; a process that ends without Python's exit functions calls :func:`shut_down`.

    Args:
        program: the name of the program: worker, reaper, serve, scan.

    Raises:
        EnvironmentUnusableError: as :func:`check`.
    """
    shut_down()
    if is_requested():
        record_with(_otlp().make_recorder(program))


def shut_down() -> None:
    """Send what is recorded, for some seconds, and record nothing from now on."""
    recorder = _recorder
    record_with(None)
    if recorder is not None and (close := getattr(recorder, "close", None)) is not None:
        close()


def record_with(recorder: Recorder | None) -> None:
    """Record the spans of this process with another recorder, or with none."""
    global _recorder
    _recorder = recorder


def record_within(recorder: Recorder, current: Any) -> None:
    """Record spans as parts of a span that another process has opened."""
    record_with(recorder)
    _current.set(current)


def _otlp() -> Any:
    try:
        from auditor.tracing import otlp
    except ImportError:
        name = next(name for name in ENDPOINTS if os.environ.get(name))
        raise EnvironmentUnusableError(
            f"{name} requests traces, which need OpenTelemetry: pip install 'auditor[telemetry]', or set "
            "OTEL_TRACES_EXPORTER=none"
        ) from None
    return otlp
