"""Checks the messages of a worker: IDs of jobs, as :mod:`auditor.jobs.queue` sends them. All others are refused.

A message must not be able to end a worker, but Celery and kombu take some malformed messages for their own errors.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import compression
from kombu.transport import TRANSPORT_ALIASES, redis

from auditor.jobs.queue import TASKS

logger = get_logger(__name__)

MOST_BYTES = 65_536
LARGEST_ID = 2**31 - 1
"""The largest integer of the databases."""
HEADERS = ("lang", "task", "id", "timelimit", "ignore_result")
"""The headers that are kept: none of them makes a worker wait, repeat a job or send a message."""
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def why_refused(message: Any) -> str | None:
    """Why a message of kombu is refused; None if it is valid."""
    headers = message.headers
    if not isinstance(headers, dict) or headers.get("task") not in TASKS.values():
        return f"expected one of the tasks {', '.join(TASKS.values())}"
    if not isinstance(headers.get("id"), str) or not re.fullmatch(r"[\w-]{1,64}", headers["id"]):
        return "expected a message ID"
    if not _is_limit(headers.get("timelimit")):
        return "expected two time limits in seconds"
    if message.content_type != "application/json" or message.content_encoding not in ("utf-8", "UTF-8"):
        return "expected the content type JSON in UTF-8"
    if not isinstance(message.body, str | bytes) or len(message.body) > MOST_BYTES:
        return f"expected a body of at most {MOST_BYTES:,} bytes"
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError):
        return "expected JSON"
    return None if _names_a_job(body) else f"expected one job ID, from 1 to {LARGEST_ID}, and nothing else"


def _is_limit(limit: Any) -> bool:
    """Whether this is a pair of a hard and a soft limit, as Celery sends it."""
    pair = isinstance(limit, list | tuple) and len(limit) == 2
    return limit is None or (pair and all(one is None or (type(one) is int and 0 < one < 2**31) for one in limit))


def _names_a_job(body: Any) -> bool:
    """Whether a body has one positional argument, a job ID, and no keyword arguments or callbacks."""
    if not isinstance(body, list) or len(body) != 3:
        return False
    arguments, keywords, callbacks = body
    number = arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else None
    nothing_else = keywords == {} and isinstance(callbacks, dict) and not any(callbacks.values())
    return type(number) is int and 1 <= number <= LARGEST_ID and nothing_else


def why_unreadable(raw: Any) -> str | None:
    """Why kombu cannot read this item of a Redis queue; None if it can."""
    properties = raw.get("properties") if isinstance(raw, dict) else None
    if not isinstance(properties, dict):
        return "expected an envelope with properties"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict) or not {"exchange", "routing_key"} <= delivery.keys():
        return "expected an envelope with properties"
    texts = [properties.get("delivery_tag"), delivery["exchange"], delivery["routing_key"], raw.get("body")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(raw.get("headers") or {}, dict):
        return "expected an envelope with headers and a body"
    if len(raw["body"]) > 2 * MOST_BYTES or (raw.get("headers") or {}).get("compression"):
        return f"expected an uncompressed body of at most {MOST_BYTES:,} bytes"
    if properties.get("body_encoding") not in (None, "base64"):
        return "expected a body in base64"
    try:
        b64decode(raw["body"]) if properties.get("body_encoding") else raw["body"].encode()
    except (binascii.Error, ValueError):
        return "expected a body in base64"
    return None


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Passes valid messages on; logs the others, and removes them from the queue."""

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        handle = super().create_task_handler(*arguments, **options)

        def receive(message: Any) -> Any:
            reason = why_refused(message)
            if reason is not None:
                logger.warning("a message is refused: %s", reason)
                return message.reject_log_error(logger, self.connection_errors)
            message.headers = {name: message.headers[name] for name in HEADERS if name in message.headers}
            return handle(message)

        return receive

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ARG002
        logger.warning("a message is refused: expected an uncompressed body")
        message.ack_log_error(logger, self.connection_errors)


class Channel(redis.Channel):
    """Kombu's channel, except that an item that is not JSON raises no error. Redis has removed the item already."""

    def _brpop_read(self, **options: Any) -> Any:
        self.connection.delivering = False
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except UNREADABLE:
            if self.connection.delivering:
                raise
            logger.warning("a message is refused: expected JSON")
            return True


class Transport(redis.Transport):
    """Kombu's transport, except that an item that is not a message raises no error."""

    Channel = Channel
    delivering = False

    def _deliver(self, message: Any, queue: str) -> None:
        reason = why_unreadable(message)
        if reason is not None:
            logger.warning("queue %s: a message is refused: %s", queue, reason)
            return
        self.delivering = True
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def refuse_foreign_messages() -> None:
    """Make kombu check messages; call this before a worker connects."""
    compression._decoders.clear()  # a compressed message may expand to a very large one, and auditor sends none
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = f"{__name__}:Transport"
