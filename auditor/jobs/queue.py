"""Sends ids of jobs to the workers' queues, once the transaction that wrote the jobs has committed. No torch.

A message is no more than a hint: the database says what is to be done, and a claim there who does it.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Exchange, Queue

from auditor.config import settings
from auditor.db.leases import Unsent
from auditor.errors import EnvironmentUnusableError, UsageError, first_line
from auditor.network import connections
from auditor.network.brokers import advice, read_broker

QUEUES = ("cpu", "gpu")
TASKS = {"audit": "auditor.audit", "training": "auditor.train"}
"""What a message asks for, by the kind of job."""
SOFT_MARGIN, HARD_MARGIN = 900, 960
"""Seconds beyond an audit's own limit until its process is interrupted, and killed: it may wait for the database."""
LONGEST_DAYS = 30
"""No audit may take longer in a queue; what a broker calls lost must be longer still."""
BROKER_OPTIONS: dict[str, dict[str, object]] = {
    "redis": {
        "visibility_timeout": (LONGEST_DAYS + 1)
        * 86_400,  # above the hard limit: Redis delivers again what takes longer
        "socket_connect_timeout": 10,
        "socket_timeout": 30,  # a broker that hangs is a lost connection, not a lost worker
        "socket_keepalive": True,
        "socket_keepalive_options": connections.redis(),  # a worker waits for messages, and sends nothing
        "health_check_interval": 10,
    },
    "amqp": {"connect_timeout": 10},
}


def queue_of(device: str) -> str:
    """The queue of a device: workers choose their own GPU."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--queue takes --device cpu or cuda, and workers choose which GPU; got {device!r}")
    return "cpu" if device == "cpu" else "gpu"


def check_length(seconds: float) -> None:
    """Raises UsageError for what may take longer than a queue keeps a message."""
    if seconds > LONGEST_DAYS * 86_400:
        raise UsageError(f"a job in a queue may take {LONGEST_DAYS} days at most, with its audits: see --time-limit")


def broker_url() -> str:
    """The broker's address.

    Raises:
        UsageError: there is none, it cannot be read, or it is of a kind that is not supported.
    """
    url = settings().broker_url
    if url is None:
        raise UsageError(
            "the queue needs a broker: set AUDITOR_BROKER_URL to redis://… or amqp://…; scans may run --here"
        )
    read_broker(url)
    return url


def broker_options(url: str) -> dict[str, object]:
    """Options of the transport that a URL names."""
    return dict(BROKER_OPTIONS[read_broker(url).kind])


def check_broker() -> None:
    """Raises UsageError where there is no broker, EnvironmentUnusableError where it does not answer."""
    app = _app(broker_url())
    with _answering(), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)


def send(jobs: Sequence[Unsent], queue: str) -> None:
    """Send the ids of queued jobs.

    Raises:
        EnvironmentUnusableError: the broker does not answer; a worker's reaper will send them when it does again.
    """
    app = _app(broker_url())
    with _answering(), app.producer_or_acquire() as producer:
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


def count_waiting(queue: str) -> int:
    """How many messages wait in a queue, without those that workers have taken.

    Raises:
        EnvironmentUnusableError: the broker does not answer.
    """
    app = _app(broker_url())
    with _answering(), app.connection_for_write() as connection:
        declared = app.amqp.queues[queue].bind(connection.default_channel)
        return int(declared.queue_declare().message_count)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Turn what brokers' libraries raise, each its own, into one error."""
    try:
        yield
    except Exception as error:
        shown = read_broker(broker_url()).shown
        raise EnvironmentUnusableError(
            f"the broker {shown} does not answer: {first_line(error)}{advice(error)}"
        ) from error


class Loader(AppLoader):  # type: ignore[misc]
    """Celery's own imports with the working directory first on the path, where anybody's file may lie."""

    def import_from_cwd(self, module: str, imp: object = None, package: str | None = None) -> Any:  # noqa: ARG002
        return self.import_module(module, package)


@functools.cache
def _app(url: str) -> Celery:
    """Celery as a sender; workers/app.py has the receiver's settings."""
    app = Celery("auditor", broker=read_broker(url).url, set_as_current=False, loader=Loader, fixups=())
    app.conf.update(sender_settings(url))
    return app


def sender_settings(url: str) -> dict[str, object]:
    """What sender and receiver must agree on."""
    return {
        "broker_use_ssl": read_broker(url).tls,
        "task_serializer": "json",  # ids; nothing that runs when it is read
        "broker_transport_options": broker_options(url),
        # RabbitMQ gives up on a worker that has not acknowledged within 30 minutes; audits take longer.
        "task_queues": [
            Queue(
                name, Exchange("auditor"), name, queue_arguments={"x-consumer-timeout": (LONGEST_DAYS + 1) * 86_400_000}
            )
            for name in QUEUES
        ],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 2},
    }
