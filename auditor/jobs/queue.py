"""Sends IDs of jobs to the workers' queues, after the transaction that wrote the jobs has committed. No torch.

A message carries only an ID; the database decides whether the job has to run, and which process runs it.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Exchange, Queue

from auditor import tracing
from auditor.config import settings
from auditor.db.leases import Leases, Unsent
from auditor.errors import EnvironmentUnusableError, UsageError, first_line
from auditor.network import connections
from auditor.network.brokers import advice, read_broker
from auditor.tracing import Span

QUEUES = ("cpu", "gpu")
"""The workers' queues; :data:`auditor.records.LOCAL_QUEUE` stands for the process itself."""
TASKS = {"audit": "auditor.audit", "training": "auditor.train"}
"""The Celery task of each kind of job."""
SOFT_MARGIN, HARD_MARGIN = 900, 960
"""Seconds after a job's time limit until Celery interrupts, and kills, its process, which may wait for the database."""
LONGEST_DAYS = 30
"""Longest time limit of a queued job; a broker must wait longer before it delivers a message again."""
BROKER_OPTIONS: dict[str, dict[str, object]] = {
    "redis": {
        # Above the hard limit, because Redis delivers a message again after this time.
        "visibility_timeout": (LONGEST_DAYS + 1) * 86_400,
        "socket_connect_timeout": 10,
        "socket_timeout": 30,  # a broker that hangs ends the connection, not the worker
        "socket_keepalive": True,
        "socket_keepalive_options": connections.redis(),  # a worker that waits for messages sends nothing
        "health_check_interval": 10,
    },
    "amqp": {"connect_timeout": 10},
}


def queue_of(device: str) -> str:
    """The queue for a device; each worker chooses its own GPU."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--queue: expected --device cpu or cuda, because workers choose the GPU; got {device!r}")
    return "cpu" if device == "cpu" else "gpu"


def check_length(seconds: float) -> None:
    """Raises UsageError if a job may take longer than a queue keeps its message."""
    if seconds > LONGEST_DAYS * 86_400:
        raise UsageError(f"a queued job and its audits may take at most {LONGEST_DAYS} days: lower --time-limit")


def broker_url() -> str:
    """The broker's URL.

    Raises:
        UsageError: no URL is set, it cannot be read, or its kind of broker is not supported.
    """
    url = settings().broker_url
    if url is None:
        raise UsageError(
            "the queue needs a broker: set AUDITOR_BROKER_URL to redis://… or amqp://…, or run scans with --here"
        )
    read_broker(url)
    return url


def broker_options(url: str) -> dict[str, object]:
    """Celery's transport options for the broker of this URL."""
    return dict(BROKER_OPTIONS[read_broker(url).kind])


def check_broker() -> None:
    """Raises UsageError if no broker is set, EnvironmentUnusableError if it does not answer."""
    app = _app(broker_url())
    with _answering(), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)


def send_queued(leases: Leases, jobs: Sequence[Unsent], queue: str) -> None:
    """Note in the database that the IDs of these queued jobs, all of the kind of ``leases``, are sent; then send them.

    Raises:
        EnvironmentUnusableError: as :func:`send`.
    """
    leases.mark_sent([job.job_id for job in jobs])
    send(jobs, queue)


def send(jobs: Sequence[Unsent], queue: str) -> None:
    """Send the IDs of queued jobs.

    Raises:
        EnvironmentUnusableError: the broker does not answer; the reaper of a worker will send the IDs once it does.
    """
    app = _app(broker_url())
    with _answering(), _span(jobs, queue), app.producer_or_acquire() as producer:
        for job in jobs:
            app.send_task(
                TASKS[job.kind],
                args=[job.job_id],
                queue=queue,
                producer=producer,
                soft_time_limit=int(job.seconds) + SOFT_MARGIN,
                time_limit=int(job.seconds) + HARD_MARGIN,
                ignore_result=True,
            )


def _span(jobs: Sequence[Unsent], queue: str) -> AbstractContextManager[Span]:
    """The span of the messages; each attempt at a job finds the span of its scan in the database."""
    system = {"redis": "redis", "amqp": "rabbitmq"}[read_broker(broker_url()).kind]
    named: dict[str, Any] = {
        "messaging.system": system,
        "messaging.destination.name": queue,
        "messaging.operation.type": "send",
        "messaging.batch.message_count": len(jobs),
    }
    return tracing.part("send", kind="producer", **named)


def count_waiting(queue: str) -> int:
    """Count the messages of a queue that no worker has taken.

    Raises:
        EnvironmentUnusableError: the broker does not answer.
    """
    app = _app(broker_url())
    with _answering(), app.connection_for_write() as connection:
        declared = app.amqp.queues[queue].bind(connection.default_channel)
        return int(declared.queue_declare().message_count)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Raise whatever a broker's library raises as one error."""
    try:
        yield
    except Exception as error:
        shown = read_broker(broker_url()).shown
        raise EnvironmentUnusableError(
            f"the broker {shown} does not answer: {first_line(error)}{advice(error)}"
        ) from error


class Loader(AppLoader):  # type: ignore[misc]
    """Celery imports with the working directory first on the path, where any file may be; this loader does not."""

    def import_from_cwd(self, module: str, imp: object = None, package: str | None = None) -> Any:  # noqa: ARG002
        return self.import_module(module, package)


@functools.cache
def _app(url: str) -> Celery:
    """Celery as a sender; workers/app.py has the receiver's settings."""
    app = Celery("auditor", broker=read_broker(url).url, set_as_current=False, loader=Loader, fixups=())
    app.conf.update(sender_settings(url))
    return app


def sender_settings(url: str) -> dict[str, object]:
    """Settings that sender and receiver have in common."""
    return {
        "broker_use_ssl": read_broker(url).tls,
        "task_serializer": "json",  # messages are IDs; reading them runs no code
        "broker_transport_options": broker_options(url),
        # By default RabbitMQ disconnects a worker that has not acknowledged within 30 minutes; audits take longer.
        "task_queues": [
            Queue(
                name, Exchange("auditor"), name, queue_arguments={"x-consumer-timeout": (LONGEST_DAYS + 1) * 86_400_000}
            )
            for name in QUEUES
        ],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 2},
    }
