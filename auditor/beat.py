"""The heart of nightly audits: once a minute, run what is due; whenever a scheduled scan has ended, tell of it."""

import logging
import time
from datetime import UTC, datetime

from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.diff import diff_scans
from auditor.db.patience import AWAY, cause_of
from auditor.db.regressions import GAP_DROP
from auditor.db.schedules import runs_to_report, scan_before, take_report
from auditor.errors import AuditorError
from auditor.notify import in_words, post
from auditor.schedules import tick

logger = logging.getLogger(__name__)


class Beat:
    """As many as one likes may run: the database hands out each due time, and each report, once."""

    def __init__(self, engine: Engine, *, here: bool) -> None:
        self.engine, self.here = engine, here

    def run(self) -> None:
        """Until interrupted; a database that is away is waited for."""
        logger.info("schedules are run %s", "here" if self.here else "by workers")
        while True:
            self.beat()
            time.sleep(max(1.0, min(20.0, 60.5 - datetime.now(UTC).second)))

    def beat(self) -> None:
        try:
            tick(self.engine, self.here)
            self.report()
        except AWAY as error:
            logger.warning("waiting for the database: %s", cause_of(error))

    def report(self) -> None:
        """Tell of what has ended, once."""
        for run_id, name, scan_id, reason in runs_to_report(self.engine):
            if not take_report(self.engine, run_id):
                continue
            if scan_id is None:
                self._tell(f"schedule {name} made no scan: {reason}", alarming=True)
                continue
            before = scan_before(self.engine, scan_id)
            diff = diff_scans(self.engine, before, scan_id, gap_drop=GAP_DROP)
            title = f"schedule {name}, scan {scan_id}" + (f" after scan {before}" if before else "")
            self._tell(in_words(diff, title), alarming=diff.alarming)

    def _tell(self, text: str, *, alarming: bool) -> None:
        logger.log(logging.WARNING if alarming else logging.INFO, "%s", text)
        url = settings().webhook_url
        if url is None or not alarming:
            return
        try:
            post(url, text, allow_private=settings().webhook_private)
        except AuditorError as error:
            logger.error("%s", error)
