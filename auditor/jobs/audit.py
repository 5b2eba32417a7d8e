"""Claim, run, store: the one code path of every job, wherever it runs. No torch: what measures has it."""

import logging
import time
from collections.abc import Callable

from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE
from auditor.db.store import Job, Store
from auditor.errors import first_line
from auditor.jobs.lease import Heartbeat, LeaseHandle
from auditor.jobs.run import Reporter, carry_out, log_end
from auditor.logs import about
from auditor.records import AuditRecord, Estimate, JobContext, Measurement, ZooEntry
from auditor.results.reverify import flag_difference
from auditor.zoo import Source

logger = logging.getLogger(__name__)

Estimator = Callable[[Source, ZooEntry, Measurement, JobContext], Estimate | None]
Measure = Callable[[Source, ZooEntry, Measurement, JobContext], AuditRecord | None]
"""How one model is measured: :func:`auditor.audit.task.measure` itself, or the same in a child process."""


def run_audit(
    store: Store,
    job: Job,
    open_source: Callable[[], Source],
    request: Measurement,
    measure: Measure,
    heartbeat: Heartbeat,
    *,
    force: bool = False,
    reverify: bool = False,
    reporter: Reporter | None = None,
    stopped: Callable[[], None] = lambda: None,
) -> str:
    """One audit from claim to stored row; returns ``done``, ``reused``, ``taken``, ``cancelled`` or ``failed: REASON``.

    ``reverify``: measure a done result again; where the same comes out it is confirmed, and ``verified`` returned.
    The source is opened after the claim: what is wrong with it on this machine is the audit's failure.
    ``taken``: by another process, so that nothing of this one is stored. ``stopped`` may raise, to end the audit; then,
    and when this process is to end, the job goes back into the queue.
    """
    began = time.monotonic()
    with about(scan=job.scan_id, audit=job.audit_id, model=job.entry.model, worker=heartbeat.name):
        attempt = store.claim(job.audit_id, heartbeat.name, heartbeat.lease, heartbeat.queue)
        with about(attempt=attempt):
            ended = "taken"
            if attempt is not None:
                job_attempt = AuditAttempt(store, job, attempt, force=force, reverify=reverify)

                def work(handle: LeaseHandle) -> AuditRecord | None:
                    return measure(open_source(), job.entry, request, job_attempt.context(handle, reporter, stopped))

                ended = carry_out(job_attempt, heartbeat, work)
            log_end(job, ended, time.monotonic() - began)
            return ended


class AuditAttempt:
    """One attempt at one job: what it asks the database, and what it leaves there."""

    def __init__(self, store: Store, job: Job, attempt: int, *, force: bool, reverify: bool) -> None:
        self.store, self.job, self.attempt = store, job, attempt
        self.force, self.reverify = force, reverify
        self.leases = Leases(store.engine, store.patience)
        self.job_id, self.name = job.audit_id, f"audit {job.audit_id}, {job.entry.model}"
        self.done: int | None = None
        self.further = True  # whether what is saved is more than any attempt before had

    def fail(self, reason: str) -> bool:
        return bool(self.store.fail(self.job_id, self.attempt, reason))

    def context(self, handle: LeaseHandle, reporter: Reporter | None, stopped: Callable[[], None]) -> JobContext:
        def progress(part: str, done: int, total: int) -> None:
            handle.progress(part, done, total)
            if reporter is not None:
                reporter.part(self.job.entry.model, part, done, total)

        def look() -> None:
            handle.check()
            stopped()

        return JobContext(progress=progress, wanted=self.wanted, load=self.load, save=self.save, stopped=look)

    def wanted(self, identity: str) -> bool:
        self.done = None if self.force else self.store.find_done(self.job.entry.model, identity)
        return self.done is None or self.reverify

    def load(self, key: str) -> bytes | None:
        saved: bytes | None = self.leases.load_progress(self.job.audit_id, key)
        if saved:
            logger.info("audit %d, %s: goes on from what was saved", self.job.audit_id, self.job.entry.model)
        elif self.attempt > 1:  # begins anew: what it saves now has been reached before, if anything has
            self.further = not self.leases.has_progress(self.job.audit_id)
        return saved

    def save(self, key: str, state: bytes) -> None:
        self.further &= bool(state)  # nothing: what was loaded is of no use, and it begins anew
        try:
            self.leases.save_progress(self.job.audit_id, self.attempt, key, state, further=self.further)
        except UNAVAILABLE as error:
            logger.warning("audit of %s: progress not saved: %s", self.job.entry.model, first_line(error))

    def store_result(self, record: AuditRecord | None) -> str:
        """Store what was found, or that it had been before, or was by another scan meanwhile."""
        audit_id, attempt = self.job.audit_id, self.attempt
        if record is not None and self.reverify and self.done is not None:
            differing = flag_difference(self.store.engine, self.done, record)
            if differing is not None:
                return "done" if self.store.finish(audit_id, attempt, differing) else "taken"
            kept = self.store.reuse(self.job.scan_id, audit_id, attempt, self.done, reverified=True)
            return "verified" if kept else "taken"
        if record is not None and self.wanted(record.identity):
            return "done" if self.store.finish(audit_id, attempt, record) else "taken"
        if self.done is None:
            return "taken"
        return "reused" if self.store.reuse(self.job.scan_id, audit_id, attempt, self.done) else "taken"
