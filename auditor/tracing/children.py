"""Spans of a child process: it sends them over its pipe as they start and end, and its parent records them.

Therefore a child needs neither OpenTelemetry nor a connection, and a child that is killed loses no span: the parent
ends those that are open.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from auditor import tracing
from auditor.tracing import Kind


class PipeRecorder:
    """Records the spans of a child process; ``send`` sends a message to :meth:`ChildSpans.receive`.

    A span is a number; number 0 is the span that was open in the parent.
    """

    def __init__(self, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._send, self._numbers = send, itertools.count(1)

    def start(self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any, at: int) -> int:
        number = next(self._numbers)
        self._send(("start", number, name, kind, attributes, parent, at))
        return number

    def update(self, span: int, attributes: Mapping[str, Any]) -> None:
        self._send(("update", span, attributes))

    def event(self, span: int, name: str, attributes: Mapping[str, Any], at: int) -> None:
        self._send(("event", span, name, attributes, at))

    def end(self, span: int, error: str | None, at: int) -> None:
        self._send(("end", span, error, at))

    def traceparent(self, span: int) -> None:  # noqa: ARG002
        return None


class ChildSpans:
    """The spans of one child process, in its parent, as parts of the span that is open here now."""

    def __init__(self) -> None:
        self._recorder = tracing._recorder
        self._open: dict[int, Any] = {0: tracing._current.get()}

    def receive(self, action: str, number: int, *content: Any) -> None:
        """Record what the child has sent."""
        if self._recorder is None:
            return
        if action == "start":
            name, kind, attributes, parent, at = content
            self._open[number] = self._recorder.start(name, kind, attributes, self._open[parent], at)
        elif action == "update":
            self._recorder.update(self._open[number], *content)
        elif action == "event":
            self._recorder.event(self._open[number], *content)
        elif action == "end":
            self._recorder.end(self._open.pop(number), *content)

    def close(self) -> None:
        """End the spans that the child has left open, because it was killed or has crashed."""
        for number in sorted(self._open, reverse=True)[:-1]:
            self.receive("end", number, "its process ended", time.time_ns())


def record_over(send: Callable[[tuple[Any, ...]], None]) -> None:
    """Record the spans of this child process over its pipe."""
    tracing.record_within(PipeRecorder(send), 0)
