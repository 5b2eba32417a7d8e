"""The Celery app of the workers, and why it is set as it is. Senders use auditor.dispatch."""

from celery import Celery

from auditor.config import settings
from auditor.jobs.queue import Loader, broker_url, sender_settings
from auditor.network.brokers import read_broker

app = Celery(
    "auditor",
    broker=read_broker(broker_url()).url if settings().broker_url else None,
    include=["workers.tasks"],
    loader=Loader,
    fixups=(),  # Django's puts the working directory on the path
)
app.conf.update(
    {
        **(sender_settings(broker_url()) if settings().broker_url else {}),
        # Messages carry ids; a pickle would run whatever somebody puts into the broker.
        "accept_content": ["json"],
        # What is none of ours is refused before Celery, which might end at it, looks into it.
        "worker_consumer": "workers.messages:Consumer",
        # The database is the result: nothing to expire, nothing to disagree with it.
        "result_backend": None,
        "task_ignore_result": True,
        # A message leaves the broker when its audit has ended, not when it begins: a killed worker loses none.
        "task_acks_late": True,
        # A killed process of the pool gives its message back; the database keeps that harmless.
        "task_reject_on_worker_lost": True,
        # A task that raises has told the database, or its lease runs out: its message must not come back for ever.
        "task_acks_on_failure_or_timeout": True,
        # One message a process: a long audit must not hold back another that an idle GPU could run.
        "worker_prefetch_multiplier": 1,
        # A lost broker is waited for, at the start and later, for as long as it takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Audits do not need the broker while they run: losing it must not cancel hours of work.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # After a reconnect the usual prefetch stays: lowering it left workers idle.
        "worker_enable_prefetch_count_reduction": False,
        # Nobody steers workers through the broker, where who can write could kill audits; `auditor scans cancel` does.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        # A process that starts while the database is slow is not dead.
        "worker_proc_alive_timeout": 60.0,
        # The end of a worker: short audits finish, long ones go back into the queue with their attacks' progress.
        "worker_enable_soft_shutdown_on_idle": False,
        "timezone": "UTC",
        "enable_utc": True,
    }
)
