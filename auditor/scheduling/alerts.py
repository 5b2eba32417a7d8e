"""Tells of scheduled scans that have ended: in the log, and by the webhook where something is alarming.

An end is noted as told once the webhook has taken it, so a process that is killed in between loses nothing; it may then
be told twice. A webhook that fails is tried again after a minute, then after twice as long, up to a quarter of an hour.
An end that it has not taken within a day is given up, with an error in the log; a process that is started anew tries
for a day, too.
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
from auditor.results.diff import diff_scans
from auditor.results.regressions import GAP_DROP
from auditor.scheduling.webhook import in_words, post

logger = logging.getLogger(__name__)

FIRST_REST, LONGEST_REST = 60.0, 900.0
"""Seconds for which a webhook that failed is left alone."""
GIVE_UP = 86_400.0
"""Seconds for which it is tried to tell of an end."""


@dataclass
class End:
    """What there is to tell of a run; ``sent`` where that is done, and only the database does not know."""

    text: str
    alarming: bool
    since: float
    tries: int = 0
    sent: bool = False


class Teller:
    """Keeps in memory what it could not tell, and when it tries again; ``clock`` is a steady one."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine, self.clock = engine, clock
        self.ends: dict[int, End] = {}
        self.rest, self.rests_until = FIRST_REST, clock()

    def look(self) -> None:
        """Tell of all that has ended, if no other process does so now. No error leaves this."""
        try:
            with only_teller(self.engine) as mine:
                if mine:
                    self._tell_all()
        except UNAVAILABLE as error:
            logger.warning("waiting for the database: %s", cause_of(error))
        except Exception as error:
            logger.error("cannot tell of ended scans: %s: %s", type(error).__name__, first_line(error))

    def _tell_all(self) -> None:
        """Those that were tried least often first: one that the webhook never takes holds up no others."""
        ended = runs_to_report(self.engine)
        known = self.ends
        self.ends = {}
        for run_id, name, scan_id, reason in ended:
            self.ends[run_id] = known.get(run_id) or self._describe(name, scan_id, reason)
        for run_id, end in sorted(self.ends.items(), key=lambda item: (item[1].tries, item[0])):
            if end.sent or self._tell(end):
                end.sent = True
                take_report(self.engine, run_id)

    def _describe(self, name: str, scan_id: int | None, reason: str | None) -> End:
        """The end in words, logged once."""
        if scan_id is None:
            text, alarming = f"schedule {name} made no scan: {reason}", True
        else:
            try:
                before = scan_before(self.engine, scan_id)
                diff = diff_scans(self.engine, before, scan_id, gap_drop=GAP_DROP)
                title = f"schedule {name}, scan {scan_id}" + (f" after scan {before}" if before else "")
                text, alarming = in_words(diff, title), diff.alarming
            except UNAVAILABLE:
                raise
            except Exception as error:
                text, alarming = f"schedule {name}, scan {scan_id} cannot be compared: {first_line(error)}", True
        logger.log(logging.WARNING if alarming else logging.INFO, "%s", text)
        return End(text, alarming, self.clock())

    def _tell(self, end: End) -> bool:
        """Whether there is nothing left to do for this end."""
        url = settings().webhook_url
        if url is None or not end.alarming:
            return True
        if self.clock() < self.rests_until:
            return False
        end.tries += 1
        try:
            post(url, end.text, allow_private=settings().webhook_private)
        except Exception as error:
            shown = str(error) if isinstance(error, AuditorError) else type(error).__name__
            logger.error("%s", shown)
        else:
            self.rest = FIRST_REST
            return True
        self.rests_until, self.rest = self.clock() + self.rest, min(2 * self.rest, LONGEST_REST)
        if self.clock() - end.since < GIVE_UP:
            return False
        logger.error("given up, nobody was told within a day: %s", end.text.partition("\n")[0])
        return True
