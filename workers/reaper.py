"""The reaper process beside each worker: ``python -m workers.reaper``, which the worker starts and ends.

It is a process, because a worker forks its pool again and again, and must hold no connection that a fork would share.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps

from auditor import logs, tracing
from auditor.config import settings
from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.db.session import make_engine
from auditor.jobs import queue
from auditor.jobs.reaper import Reaper

logger = logging.getLogger("workers.reaper")
CHECK_SECONDS = 5.0


class ReaperStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the reaper with a worker, restarts it if it ends, and ends it with the worker."""

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, parent: Any) -> None:
        self._start_reaper()
        parent.timer.call_repeatedly(CHECK_SECONDS, self._restart_if_ended)

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        process, self.process = self.process, None
        if process is not None:
            process.terminate()

    terminate = stop

    def _start_reaper(self) -> None:
        program = [sys.executable, "-P", "-m", "workers.reaper", str(os.getpid())]
        self.process = subprocess.Popen(program, start_new_session=True)  # Ctrl-C must reach only the worker

    def _restart_if_ended(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            logger.warning("the reaper ended with exit code %d and is started again", self.process.returncode)
            self._start_reaper()


def main(parent: int) -> None:
    """Check leases and messages until the worker has ended."""
    logs.set_up("reaper")
    tracing.set_up("reaper")
    lease = settings().lease_seconds
    reaper = Reaper(make_engine(settings().database_url), lease, queue, queue.QUEUES)
    pause = min(5.0, lease / 4)
    messages = threading.Thread(target=_repeat, args=(reaper.check_messages, pause, parent), daemon=True)
    messages.start()  # in a thread: a broker that hangs must not delay the check of leases
    _repeat(reaper.check_processes, pause, parent)


def _repeat(check: Callable[[], None], pause: float, parent: int) -> None:
    while os.getppid() == parent:
        try:
            check()
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception:
            logger.exception("the check failed; it will be repeated")
        time.sleep(pause)


if __name__ == "__main__":
    main(int(sys.argv[1]))
