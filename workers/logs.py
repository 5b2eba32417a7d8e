"""Sends a worker's logs, with those of Celery, through :mod:`auditor.logs`."""

from typing import Any

from celery.signals import setup_logging

from auditor import logs


def set_up_logs(level: str) -> list[str]:
    """Set up logs in place of Celery; returns options for Celery's command line."""
    logs.set_up("worker", level)
    setup_logging.connect(_ignore_signal)
    return ["--quiet"] if logs.logs_json() else []  # Celery's banner is for people


def _ignore_signal(**_: Any) -> None:
    """Do nothing: Celery sets up no logs if this signal has a receiver."""
