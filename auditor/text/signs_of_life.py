"""Sentences about processes that show no sign of life, and queues without workers. They claim only what was seen."""

from datetime import UTC, datetime

from auditor.text.times import format_duration


def no_sign_of_life(since: str, now: datetime | None = None) -> str:
    """How long ago the last sign of life was; ``since`` is its time in ISO 8601."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(since)).total_seconds()
    return f"no sign of life for {format_duration(max(1.0, seconds))}"


def no_worker(queue: str) -> str:
    """A queue has jobs, and no worker with a recent heartbeat serves it."""
    return f"no worker serves the queue {queue}"


def start_worker(queue: str) -> str:
    """The advice for a queue without workers."""
    return f"start one with `auditor worker --queue {queue}`"
