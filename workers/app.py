"""The Celery app of the workers, with a reason for each setting. Senders use :mod:`auditor.jobs.queue`."""

from celery import Celery

from auditor.config import settings
from auditor.jobs.queue import Loader, broker_url, sender_settings
from auditor.network.brokers import read_broker

app = Celery(
    "auditor",
    broker=read_broker(broker_url()).url if settings().broker_url else None,
    include=["workers.tasks"],
    loader=Loader,
    fixups=(),  # Django's fixup puts the working directory on the path
)
app.conf.update(
    {
        **(sender_settings(broker_url()) if settings().broker_url else {}),
        # Messages carry IDs. A pickle would run any code that somebody puts into the broker.
        "accept_content": ["json"],
        # Refuse foreign messages before Celery reads them, because some of them end a worker.
        "worker_consumer": "workers.messages:Consumer",
        # Results are in the database; a second copy could expire or disagree.
        "result_backend": None,
        "task_ignore_result": True,
        # A message leaves the broker when its job has ended, so a killed worker loses none.
        "task_acks_late": True,
        # The message of a killed process goes back; the database keeps a second delivery harmless.
        "task_reject_on_worker_lost": True,
        # A failed task has stored its failure, or its lease expires: its message must not return for ever.
        "task_acks_on_failure_or_timeout": True,
        # One message per process: an idle GPU must not wait for a message that another process holds.
        "worker_prefetch_multiplier": 1,
        # Wait for an unavailable broker, at the start and later, without a limit.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Running audits do not need the broker, so losing it must not cancel hours of work.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Keep the prefetch count after a reconnect, because a lower count left workers idle.
        "worker_enable_prefetch_count_reduction": False,
        # No remote control: anyone who can write to the broker could kill audits. Use `auditor scans cancel`.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        # Do not take a process for dead that starts while the database is slow.
        "worker_proc_alive_timeout": 60.0,
        # When a worker ends, short audits finish, and long ones go back into the queue with their saved progress.
        "worker_enable_soft_shutdown_on_idle": False,
        "timezone": "UTC",
        "enable_utc": True,
    }
)
