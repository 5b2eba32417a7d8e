"""``python -m workers OPTIONS``, which ``auditor worker`` becomes: Celery with a pool of processes, and the reaper."""

from auditor.interpreter import leave_working_directory

leave_working_directory()

import os  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402

from auditor.errors import AuditorError  # noqa: E402
from workers.options import Options  # noqa: E402


def main(asked: str) -> None:
    """Run a worker until it is told to end."""
    try:
        options = Options.resolve(asked)
    except AuditorError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")  # to end is to end softly; Celery reads this when it is imported

    from workers.app import app
    from workers.events import open_to_questions
    from workers.logs import log_as_asked
    from workers.messages import refuse_junk
    from workers.process import inherit
    from workers.reaper import ReaperStep

    inherit(options)
    refuse_junk()
    quiet = log_as_asked(options.log_level)
    if options.events:
        open_to_questions(app)
    app.conf.worker_max_tasks_per_child = options.max_jobs  # a process is renewed before its leaks matter
    app.conf.worker_soft_shutdown_timeout = options.grace  # Celery waits for all of it, if audits run
    app.steps["worker"].add(ReaperStep)
    app.worker_main(
        [
            *quiet,
            "worker",
            "--pool=prefork",  # cancel and time limits do nothing in threads
            f"--concurrency={options.processes}",
            f"--queues={options.queue}",
            f"--hostname={options.queue}-{os.getpid()}@{platform.node()}",
            f"--loglevel={options.log_level}",
            "--without-gossip",  # workers need not know of each other: the database knows all of them
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1])
