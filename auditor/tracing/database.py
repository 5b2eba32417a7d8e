"""A span for each database transaction within another span. Heartbeats and other repeated queries are within none."""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event

from auditor import tracing
from auditor.tracing import Span


def trace_transactions(engine: Engine) -> None:
    """Record the transactions of an engine."""
    spans: WeakKeyDictionary[Connection, Span] = WeakKeyDictionary()
    verbs: WeakKeyDictionary[Connection, list[str]] = WeakKeyDictionary()
    system = engine.dialect.name
    database = None if system == "sqlite" else engine.url.database

    def begin(connection: Connection) -> None:
        if tracing.is_inside():
            named = {"db.system.name": system, "db.namespace": database}
            spans[connection], verbs[connection] = tracing.start_part("transaction", kind="client", **named), []

    def note_statement(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if connection in spans:
            verbs[connection].append(statement.split(None, 1)[0].upper())

    def end(connection: Connection, error: str | None = None) -> None:
        span = spans.pop(connection, None)
        if span is None:
            return
        done = verbs.pop(connection)
        span.set(**{"db.query.summary": " ".join(dict.fromkeys(done))}, statements=len(done))
        if error is not None:
            span.fail(error)
        span.end()

    def note_error(context: Any) -> None:
        if context.connection is not None:
            end(context.connection, type(context.original_exception).__name__)

    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", note_statement)
    event.listen(engine, "commit", end)
    event.listen(engine, "rollback", end)
    event.listen(engine, "handle_error", note_error)
