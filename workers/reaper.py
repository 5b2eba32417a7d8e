"""The reaper as a process of its own beside each worker: ``python -m workers.reaper``, started and ended by it.

A process, since a worker's parent forks its pool again and again and must hold no connection that a fork would share.
"""

import logging
import os
import subprocess
import sys
import time
from typing import Any

from celery import bootsteps

from auditor import dispatch, logs
from auditor.config import settings
from auditor.db.patience import AWAY
from auditor.db.session import make_engine
from auditor.errors import first_line
from auditor.reaper import Reaper

logger = logging.getLogger("workers.reaper")


class ReaperStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the reaper with a worker, and ends it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, parent: Any) -> None:  # noqa: ARG002
        self.process = subprocess.Popen([sys.executable, "-P", "-m", "workers.reaper", str(os.getpid())])

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        if self.process is not None:
            self.process.terminate()

    terminate = stop


def main(parent: int) -> None:
    """Look until the worker is gone."""
    logs.set_up("reaper")
    lease = settings().lease_seconds
    reaper = Reaper(make_engine(settings().database_url), lease, dispatch, dispatch.QUEUES)
    while os.getppid() == parent:
        try:
            reaper.look()
        except AWAY as error:
            logger.warning("waiting for the database: %s", first_line(error.orig or error))
        except Exception:
            logger.exception("a look failed; the next one comes")
        time.sleep(min(5.0, lease / 4))


if __name__ == "__main__":
    main(int(sys.argv[1]))
