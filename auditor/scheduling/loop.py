"""The loop of nightly audits: once a minute, run what is due; beside it, tell of scheduled scans that have ended."""

import logging
import threading
from datetime import UTC, datetime

from sqlalchemy import Engine

from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.errors import first_line
from auditor.scheduling.alerts import Teller
from auditor.scheduling.due import tick

logger = logging.getLogger(__name__)

TELL_EVERY = 20.0
"""Seconds between two looks for scans that have ended."""


class Beat:
    """As many as one likes may run: the database hands out each due time once, and one beat at a time tells of ends."""

    def __init__(self, engine: Engine, *, here: bool) -> None:
        self.engine, self.here, self.teller = engine, here, Teller(engine)
        self.ended = threading.Event()

    def run(self) -> None:
        """Until interrupted. Ends are told of in a thread: due times go on, however long a webhook or a scan takes."""
        logger.info("schedules are run %s", "here" if self.here else "by workers")
        threading.Thread(target=self._keep_telling, daemon=True, name="teller").start()
        try:
            while not self.ended.is_set():
                self.beat()
                self.ended.wait(until_next_minute())
        finally:
            self.ended.set()

    def beat(self) -> None:
        """One look at the clock; no error ends the loop, and a database that is away is waited for."""
        try:
            tick(self.engine, self.here)
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception as error:
            logger.error("cannot run what is due: %s: %s", type(error).__name__, first_line(error))

    def report(self) -> None:
        """Tell of what has ended since the last time."""
        self.teller.look()

    def _keep_telling(self) -> None:
        while not self.ended.is_set():
            self.report()
            self.ended.wait(TELL_EVERY)


def until_next_minute() -> float:
    """Seconds until the next look at the clock: half a second into a minute, and thrice a minute for what is late."""
    return max(1.0, min(20.0, 60.5 - datetime.now(UTC).second))
