"""The loop of ``auditor beat``: it runs due schedules, and reports ended scans in a thread."""

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.errors import first_line
from auditor.scheduling.alerts import Alerts
from auditor.scheduling.due import run_due

logger = logging.getLogger(__name__)

REPORT_SECONDS = 20.0
"""Seconds between two checks for ended scans."""


class Beat:
    """Several may run: the database gives each due time to one of them, and one at a time reports ended scans.

    Args:
        engine: the database.
        local: whether scheduled scans run in this process, or on workers.
        heartbeat_file: a file whose time is updated after each check for due schedules, if that is given.
    """

    def __init__(self, engine: Engine, *, local: bool, heartbeat_file: Path | None = None) -> None:
        self.engine, self.local, self.alerts, self.heartbeat_file = engine, local, Alerts(engine), heartbeat_file
        self.ended = threading.Event()

    def run(self) -> None:
        """Run until interrupted. Reports have a thread, so that a slow webhook or scan delays neither side."""
        logger.info("scheduled scans run %s", "in this process" if self.local else "on workers")
        threading.Thread(target=self._report_repeatedly, daemon=True, name="alerts").start()
        try:
            while not self.ended.is_set():
                self.beat()
                self.touch_heartbeat()
                self.ended.wait(until_next_minute())
        finally:
            self.ended.set()

    def beat(self) -> None:
        """Run what is due; no error ends the loop, and an unavailable database is tried again."""
        try:
            run_due(self.engine, self.local, halted=self.ended)
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception as error:
            logger.error("cannot run due schedules: %s: %s", type(error).__name__, first_line(error))

    def touch_heartbeat(self) -> None:
        """Update the time of the heartbeat's file; an error leaves it old, so that the health check notices."""
        if self.heartbeat_file is not None:
            try:
                self.heartbeat_file.touch()
            except OSError as error:
                logger.warning("cannot write the heartbeat %s: %s", self.heartbeat_file, error.strerror)

    def report(self) -> None:
        """Report the scans that have ended since the last call."""
        self.alerts.send()

    def _report_repeatedly(self) -> None:
        while not self.ended.is_set():
            self.report()
            self.ended.wait(REPORT_SECONDS)


def until_next_minute() -> float:
    """Seconds until the next check: half a second into each minute, and three times a minute for late runs."""
    return max(1.0, min(20.0, 60.5 - datetime.now(UTC).second))
