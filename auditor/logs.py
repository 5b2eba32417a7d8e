"""Logs for people or as JSON; each line has the IDs of its job, and no secrets."""

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
"""The IDs of a line, in this order; each only if it is known."""

_fields: ContextVar[Mapping[str, object]] = ContextVar("fields", default=MappingProxyType({}))


@dataclass(frozen=True)
class LogSettings:
    """How a program logs: its name, whether as JSON, and the secrets that no line may show."""

    program: str
    json: bool
    secrets: frozenset[str] = frozenset()


_settings: LogSettings | None = None


def set_up(name: str, level: int | str = logging.INFO) -> None:
    """Send the logs of this process to stderr, in the format of AUDITOR_LOG_FORMAT.

    Args:
        name: the name of the program: worker, reaper, beat, scan.
        level: the lowest level that is logged.

    Raises:
        EnvironmentUnusableError: the format is JSON, and its package is not installed.
    """
    from auditor.config import settings

    as_json = settings().log_format == "json"
    _install(LogSettings(name, as_json), level)
    if as_json:
        logging.captureWarnings(True)


def _install(log_settings: LogSettings, level: int | str) -> None:
    global _settings
    handler = _ToStderr()
    handler.setFormatter(_Redacting(_json(log_settings.program) if log_settings.json else _Text(log_settings.program)))
    handler.addFilter(_add_ids)
    root = logging.getLogger()
    root.handlers[:] = [*(one for one in root.handlers if not isinstance(one, _ToStderr)), handler]
    root.setLevel(level)
    _settings = log_settings


@contextlib.contextmanager
def log_context(**ids: object) -> Iterator[None]:
    """Add these IDs to all lines that this thread logs in this context."""
    token = _fields.set({**_fields.get(), **ids})
    try:
        yield
    finally:
        _fields.reset(token)


def export_context() -> tuple[LogSettings | None, dict[str, object]]:
    """The log settings and IDs of this process, for a process that it starts."""
    log_settings = None if _settings is None else replace(_settings, secrets=redaction.known_secrets())
    return log_settings, dict(_fields.get())


def import_context(context: tuple[LogSettings | None, dict[str, object]], level: int) -> None:
    """Log with the settings and IDs of the process that exported ``context``."""
    log_settings, ids = context
    _fields.set(ids)
    if log_settings is None:
        logging.getLogger().setLevel(level)
    else:
        for secret in log_settings.secrets:
            redaction.hide(secret)
        _install(log_settings, level)


def logs_json() -> bool:
    """Whether stderr has JSON lines; then there are no progress bars and no lines for people."""
    return _settings is not None and _settings.json


def log_json(line: str, level: int = logging.INFO) -> bool:
    """Log a line that is otherwise printed for people; False if logs are not JSON."""
    if _settings is None or not _settings.json:
        return False
    logging.getLogger(f"auditor.{_settings.program}").log(level, "%s", line)
    return True


def show_traceback(error: BaseException) -> None:
    """Show an error's traceback if ``auditor --debug`` or AUDITOR_DEBUG asks for it."""
    from auditor.config import settings

    try:
        debug = settings().debug
    except AuditorError:  # the error is about settings that cannot be read
        debug = os.environ.get("AUDITOR_DEBUG", "").lower() in ("1", "true")
    if not debug:
        return
    if _settings is not None:
        logging.getLogger("auditor").error("%s", type(error).__name__, exc_info=error)
    elif sys.stderr is not None:
        sys.stderr.write(redaction.redact("".join(traceback.format_exception(error))))


def _add_ids(record: logging.LogRecord) -> bool:
    for name, value in _fields.get().items():
        if value is not None and not hasattr(record, name):
            setattr(record, name, value)
    return True


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to the current stderr; if that is closed, the program continues without logs."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _Redacting(logging.Formatter):
    """Removes secrets from the lines of another formatter."""

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
