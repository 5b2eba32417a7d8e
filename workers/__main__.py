"""``python -m workers OPTIONS``, which ``auditor worker`` starts: Celery with a pool of processes, and the reaper."""

from auditor.interpreter import leave_working_directory

leave_working_directory()

import os  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402

from auditor.errors import AuditorError  # noqa: E402
from workers.options import Options  # noqa: E402


def main(arguments: str) -> None:
    """Run a worker until a signal ends it; ``arguments`` are its options as JSON."""
    try:
        options = Options.resolve(arguments)
    except AuditorError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")  # SIGTERM starts a soft shutdown; Celery reads this at import

    from workers.app import app
    from workers.events import answer_queries
    from workers.logs import set_up_logs
    from workers.messages import refuse_foreign_messages
    from workers.process import set_options
    from workers.reaper import ReaperStep

    set_options(options)
    refuse_foreign_messages()
    log_options = set_up_logs(options.log_level)
    if options.events:
        answer_queries(app)
    app.conf.worker_max_tasks_per_child = options.max_jobs  # a process is replaced before memory leaks matter
    app.conf.worker_soft_shutdown_timeout = options.grace  # Celery waits this long while audits run
    app.steps["worker"].add(ReaperStep)
    app.worker_main(
        [
            *log_options,
            "worker",
            "--pool=prefork",  # threads support neither cancelling nor time limits
            f"--concurrency={options.processes}",
            f"--queues={options.queue}",
            f"--hostname={options.queue}-{os.getpid()}@{platform.node()}",
            f"--loglevel={options.log_level}",
            "--without-gossip",  # workers need not know each other, because the database lists them
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1])
