"""What is logged, and how: for people or as JSON, each line with the ids that it is about, and without secrets."""

import contextlib
import logging
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TextIO

from auditor.errors import AuditorError, EnvironmentUnusableError
from auditor.text import redaction
from auditor.text.printable import clean_line, clean_lines

FIELDS = ("scan", "audit", "training", "model", "attempt", "worker")
"""The ids of a line, in this order; each where it is known."""

_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


@dataclass(frozen=True)
class LogSettings:
    """How a program logs: its name, whether in JSON, and what must not appear."""

    program: str
    json: bool
    secrets: frozenset[str] = frozenset()


_manner: LogSettings | None = None


def set_up(name: str, level: int | str = logging.INFO) -> None:
    """Send all that this process logs to stderr, as AUDITOR_LOG_FORMAT says.

    Args:
        name: which program this is: worker, reaper, beat, scan.
        level: what is less than this is left out.

    Raises:
        EnvironmentUnusableError: JSON is asked for, and its package is not here.
    """
    from auditor.config import settings

    asked = settings()
    _install(LogSettings(name, asked.log_format == "json"), level)
    if asked.log_format == "json":
        logging.captureWarnings(True)


def _install(manner: LogSettings, level: int | str) -> None:
    global _manner
    handler = _ToStderr()
    handler.setFormatter(_Hiding(_json(manner.program) if manner.json else _Text(manner.program)))
    handler.addFilter(_add_ids)
    root = logging.getLogger()
    root.handlers[:] = [*(one for one in root.handlers if not isinstance(one, _ToStderr)), handler]
    root.setLevel(level)
    _manner = manner


@contextlib.contextmanager
def about(**ids: object) -> Iterator[None]:
    """Whatever this thread logs meanwhile is about these."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def export_context() -> tuple[LogSettings | None, dict[str, object]]:
    """What a process that this one starts needs to log in the same manner, about the same."""
    manner = None if _manner is None else replace(_manner, secrets=redaction.known_secrets())
    return manner, dict(_about.get())


def import_context(taken: tuple[LogSettings | None, dict[str, object]], level: int) -> None:
    """Go on in another process, with what was taken along."""
    manner, ids = taken
    _about.set(ids)
    if manner is None:
        logging.getLogger().setLevel(level)
    else:
        for secret in manner.secrets:
            redaction.hide(secret)
        _install(manner, level)


def logs_json() -> bool:
    """Whether stderr is for a machine: no bars and no lines for people then."""
    return _manner is not None and _manner.json


def log_json(line: str, level: int = logging.INFO) -> bool:
    """Log what would be said to people; False where they are who listens."""
    if _manner is None or not _manner.json:
        return False
    logging.getLogger(f"auditor.{_manner.program}").log(level, "%s", line)
    return True


def show_traceback(error: BaseException) -> None:
    """The whole of an error, where ``auditor --debug`` or AUDITOR_DEBUG asks for it."""
    from auditor.config import settings

    try:
        wanted = settings().debug
    except AuditorError:  # settings that cannot be read are the error
        wanted = os.environ.get("AUDITOR_DEBUG", "").lower() in ("1", "true")
    if not wanted:
        return
    if _manner is not None:
        logging.getLogger("auditor").error("%s", type(error).__name__, exc_info=error)
    elif sys.stderr is not None:
        sys.stderr.write(redaction.redact("".join(traceback.format_exception(error))))


def _add_ids(record: logging.LogRecord) -> bool:
    for name, value in _about.get().items():
        if value is not None and not hasattr(record, name):
            setattr(record, name, value)
    return True


class _ToStderr(logging.StreamHandler[TextIO]):
    """Whatever stderr is when a line comes; where nobody listens any more, the work goes on in silence."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _Hiding(logging.Formatter):
    """Another formatter's lines, without secrets."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return clean_lines(redaction.redact(self._formatter.format(record)))


class _Text(logging.Formatter):
    """``[time: LEVEL/program] message [scan=3 audit=7 model=demo:noise attempt=1 worker=host:42]``"""

    def __init__(self, program: str) -> None:
        super().__init__(f"[%(asctime)s: %(levelname)s/{program}] %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        ids = [
            clean_line(f"{name}={getattr(record, name)}") for name in FIELDS if getattr(record, name, None) is not None
        ]
        return clean_lines(super().formatMessage(record)).replace("\n", "\n    ") + (
            f" [{' '.join(ids)}]" if ids else ""
        )


def _json(program: str) -> logging.Formatter:
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError:
        raise EnvironmentUnusableError(
            "AUDITOR_LOG_FORMAT=json needs python-json-logger: pip install 'auditor[service]'"
        ) from None
    formatter: logging.Formatter = JsonFormatter(
        ["levelname", "name", "message", "process"],
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "process": "pid", "exc_info": "exception"},
        static_fields={"program": program, "host": platform.node()},
    )
    return formatter
