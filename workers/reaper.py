"""The reaper as a process of its own beside each worker: ``python -m workers.reaper``, started and ended by it.

A process, since a worker's parent forks its pool again and again and must hold no connection that a fork would share.
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

from auditor import logs
from auditor.config import settings
from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.db.session import make_engine
from auditor.jobs import queue as dispatch
from auditor.jobs.reaper import Reaper

logger = logging.getLogger("workers.reaper")
CHECK_SECONDS = 5.0


class ReaperStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the reaper with a worker, starts it again should it end, and ends it."""

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, parent: Any) -> None:
        self._begin()
        parent.timer.call_repeatedly(CHECK_SECONDS, self._check)

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        process, self.process = self.process, None
        if process is not None:
            process.terminate()

    terminate = stop

    def _begin(self) -> None:
        program = [sys.executable, "-P", "-m", "workers.reaper", str(os.getpid())]
        self.process = subprocess.Popen(program, start_new_session=True)  # a Ctrl-C is for the worker alone

    def _check(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            logger.warning("the reaper has ended with %d, another one is started", self.process.returncode)
            self._begin()


def main(parent: int) -> None:
    """Look until the worker is gone."""
    logs.set_up("reaper")
    lease = settings().lease_seconds
    reaper = Reaper(make_engine(settings().database_url), lease, dispatch, dispatch.QUEUES)
    pause = min(5.0, lease / 4)
    messages = threading.Thread(target=_repeat, args=(reaper.look_at_messages, pause, parent), daemon=True)
    messages.start()  # by themselves: a broker that hangs must not keep leases from running out
    _repeat(reaper.look_at_processes, pause, parent)


def _repeat(look: Callable[[], None], pause: float, parent: int) -> None:
    while os.getppid() == parent:
        try:
            look()
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception:
            logger.exception("a look failed; the next one comes")
        time.sleep(pause)


if __name__ == "__main__":
    main(int(sys.argv[1]))
