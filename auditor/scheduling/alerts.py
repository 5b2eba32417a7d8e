"""Reports the ends of scheduled scans: in the log, and by the webhook if a result is alarming.

A report is stored as sent after the webhook has accepted it. A process that is killed in between loses no report, but
the next process may send it twice. After a failure the webhook is left alone for a minute, then for twice as long, up
to a quarter of an hour. A report that the webhook has not accepted within a day is dropped, with an error in the log;
a process that starts again also tries for a day.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.db.schedules import only_teller, runs_to_report, scan_before, take_report
from auditor.errors import AuditorError, first_line
from auditor.records.schedules import UNMET
from auditor.results.diff import diff_scans
from auditor.results.regressions import GAP_DROP
from auditor.scheduling.webhook import describe_diff, post

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 900.0
"""Seconds until the next attempt after the webhook failed."""
GIVE_UP = 86_400.0
"""Seconds after which a report is dropped."""


@dataclass
class Report:
    """The report of a run's end; ``sent``: the webhook has it, but the database may not know that yet."""

    text: str
    alarming: bool
    since: float
    tries: int = 0
    sent: bool = False


class Alerts:
    """Sends reports. Unsent reports, and the time of the next attempt, are kept in memory; ``clock`` is monotonic."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine, self.clock = engine, clock
        self.reports: dict[int, Report] = {}
        self.pause, self.paused_until = FIRST_PAUSE, clock()

    def send(self) -> None:
        """Report all ended runs, unless another process does so now. It raises no error."""
        try:
            with only_teller(self.engine) as mine:
                if mine:
                    self._send_all()
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception as error:
            logger.error("cannot report ended scans: %s: %s", type(error).__name__, first_line(error))

    def _send_all(self) -> None:
        """Start with the reports that failed least often, so that a refused report does not delay others."""
        ended = runs_to_report(self.engine)
        known = self.reports
        self.reports = {}
        for run_id, name, scan_id, reason in ended:
            self.reports[run_id] = known.get(run_id) or self._describe(name, scan_id, reason)
        for run_id, report in sorted(self.reports.items(), key=lambda item: (item[1].tries, item[0])):
            if report.sent or self._send(report):
                report.sent = True
                take_report(self.engine, run_id)

    def _describe(self, name: str, scan_id: int | None, reason: str | None) -> Report:
        """Make the report of a run's end, and log it."""
        if scan_id is None:
            text, alarming = f"schedule {name} started no scan: {reason}", True
        else:
            try:
                before = scan_before(self.engine, scan_id)
                diff = diff_scans(self.engine, before, scan_id, gap_drop=GAP_DROP)
                title = f"schedule {name}, scan {scan_id}" + (f" after scan {before}" if before else "")
                text, alarming = describe_diff(diff, title), diff.alarming
            except UNAVAILABLE:
                raise
            except Exception as error:
                text, alarming = f"schedule {name}, scan {scan_id} cannot be compared: {first_line(error)}", True
            if reason is not None and reason.startswith(UNMET):
                text, alarming = f"{text}\n{reason}", True
        logger.log(logging.WARNING if alarming else logging.INFO, "%s", text)
        return Report(text, alarming, self.clock())

    def _send(self, report: Report) -> bool:
        """Post a report if it is alarming; returns whether the report is finished: posted, not needed or dropped."""
        url = settings().webhook_url
        if url is None or not report.alarming:
            return True
        if self.clock() < self.paused_until:
            return False
        report.tries += 1
        try:
            post(url, report.text, allow_private=settings().webhook_private)
        except Exception as error:
            logger.error("%s", str(error) if isinstance(error, AuditorError) else type(error).__name__)
        else:
            self.pause = FIRST_PAUSE
            return True
        self.paused_until, self.pause = self.clock() + self.pause, min(2 * self.pause, LONGEST_PAUSE)
        if self.clock() - report.since < GIVE_UP:
            return False
        logger.error(
            "the webhook did not accept this report within a day, it is dropped: %s", report.text.partition("\n")[0]
        )
        return True
