"""``auditor worker --events``: answers Flower's queries, and no command that controls a worker.

Flower's page shows events. Its API queries each worker through Celery's remote control, through which anyone who can
write to the broker could also end workers and kill their audits. Therefore only queries stay enabled.
"""

import logging

from celery import Celery
from celery.worker.control import Panel

logger = logging.getLogger(__name__)

QUERIES = (
    "active", "active_queues", "conf", "ping", "registered", "reserved", "revoked", "scheduled", "stats",
)  # fmt: skip
"""The queries of Flower; none changes anything. Celery shows ``conf`` without passwords."""
HARMLESS = ("enable_events", "heartbeat")
"""Flower sends the first every few seconds; it has no effect, because events are enabled already."""


def answer_queries(app: Celery) -> None:
    """Send events, and answer queries that come through the broker."""
    app.conf.worker_send_task_events = True
    app.conf.worker_enable_remote_control = True
    for name in set(Panel.data) - {*QUERIES, *HARMLESS}:
        Panel.data[name] = _refuse


def _refuse(_: object, **__: object) -> dict[str, str]:
    logger.warning("refused a command that came through the broker")
    return {"error": "workers take no commands through the broker; cancel scans with `auditor scans cancel`"}
