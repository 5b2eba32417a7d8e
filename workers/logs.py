"""A worker's logs, Celery's own lines among them, are those of auditor.logs."""

from typing import Any

from celery.signals import setup_logging

from auditor import logs

QUIET = ["--quiet"]
"""Celery's banner is for people."""


def log_as_asked(level: str) -> list[str]:
    """Set it up before Celery does, and keep Celery from it; options for Celery that go with it."""
    logs.set_up("worker", level)
    setup_logging.connect(_leave_it)
    return QUIET if logs.logs_json() else []


def _leave_it(**_: Any) -> None:
    """Celery sets up no logging where somebody listens to this signal."""
