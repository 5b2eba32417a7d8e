"""``auditor worker --events``: what Flower needs of a worker, which is to be asked, and nothing that steers it.

Flower's page lives on events. Its API asks each worker through Celery's remote control, where whoever can write to the
broker could also end workers and kill their audits; of its commands only questions are left.
"""

import logging

from celery import Celery
from celery.worker.control import Panel

logger = logging.getLogger(__name__)

QUESTIONS = (
    "active", "active_queues", "conf", "ping", "registered", "reserved", "revoked", "scheduled", "stats",
)  # fmt: skip
"""All that Flower asks; none changes anything. Celery shows ``conf`` without passwords."""
HARMLESS = ("enable_events", "heartbeat")
"""Flower sends the first every few seconds; here events are on already."""


def open_to_questions(app: Celery) -> None:
    """Send events, and answer questions that come through the broker."""
    app.conf.worker_send_task_events = True
    app.conf.worker_enable_remote_control = True
    for name in set(Panel.data) - {*QUESTIONS, *HARMLESS}:
        Panel.data[name] = _refuse


def _refuse(_: object, **__: object) -> dict[str, str]:
    logger.warning("a command that came through the broker is refused")
    return {"error": "workers are not steered through the broker; `auditor scans cancel` ends audits"}
