"""Claim an audit, measure it, store its result: the one code path of audits, wherever they run. No torch."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from auditor import tracing
from auditor.db.ending import now
from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE
from auditor.db.store import Job, Store
from auditor.errors import first_line
from auditor.jobs.heartbeat import Heartbeat, LeaseHandle
from auditor.jobs.run import Reporter, log_end, open_attempt_span, record_outcome, run_claimed
from auditor.logs import log_context
from auditor.records import AuditRecord, Estimate, JobContext, Measurement, Verdicts, ZooEntry
from auditor.results.previous import count_audits, previous_verdicts
from auditor.results.reverify import flag_difference
from auditor.zoo import Source

logger = logging.getLogger(__name__)

Estimator = Callable[[Source, ZooEntry, Measurement, JobContext], Estimate | None]
Measure = Callable[[Source, ZooEntry, Measurement, JobContext], AuditRecord | None]
"""Measures one model: :func:`auditor.jobs.tasks.measure_audit` itself, or the same function in a child process."""


@dataclass(frozen=True, kw_only=True)
class AuditExecutor:
    """Runs audits for one process, or one of its slots.

    ``heartbeat`` keeps the leases of claimed audits; ``check_stopped`` raises to end the audit that runs.
    """

    store: Store
    measure: Measure
    heartbeat: Heartbeat
    reporter: Reporter | None = None
    check_stopped: Callable[[], None] = lambda: None

    def run(
        self,
        job: Job,
        open_source: Callable[[], Source],
        request: Measurement,
        *,
        force: bool = False,
        reverify: bool = False,
    ) -> str:
        """Run one audit from claim to stored row; returns its outcome, see :meth:`auditor.jobs.run.Reporter.ended`.

        If ``check_stopped`` raises, or this process has to end, the job goes back into the queue.

        Args:
            open_source: called after the claim, so that a source that this machine cannot open fails the audit.
            force: measure the model although there is a stored result.
            reverify: measure it again and compare; the outcome is ``verified`` if the stored result is confirmed.
        """
        started, began, heartbeat = now(), time.monotonic(), self.heartbeat
        ids = {"scan": job.scan_id, "audit": job.audit_id, "model": job.entry.model, "worker": heartbeat.name}
        with log_context(**ids):
            number = self.store.claim(job.audit_id, heartbeat.name, heartbeat.lease, heartbeat.queue)
            with log_context(attempt=number):
                outcome = "taken"
                if number is not None:
                    attempt = AuditAttempt(self, job, number, force=force, reverify=reverify)

                    def measure(handle: LeaseHandle) -> AuditRecord | None:
                        return self.measure(open_source(), job.entry, request, attempt.context(handle))

                    protocol = job.request.get("protocol")
                    with open_attempt_span(
                        "audit", job.request, started, heartbeat.queue, protocol=protocol, attempt=number, **ids
                    ) as span:
                        outcome = run_claimed(attempt, heartbeat, measure)
                        record_outcome(span, outcome)
                log_end(job, outcome, time.monotonic() - began)
                return outcome


class AuditAttempt:
    """One attempt at one audit: what its task needs from the database, and what it stores there."""

    def __init__(self, executor: AuditExecutor, job: Job, attempt: int, *, force: bool, reverify: bool) -> None:
        self.executor, self.store, self.job, self.attempt = executor, executor.store, job, attempt
        self.force, self.reverify = force, reverify
        self.leases = Leases(self.store.engine, self.store.patience)
        self.job_id, self.name = job.audit_id, f"audit {job.audit_id}, {job.entry.model}"
        self.stored_audit_id: int | None = None  # the stored result of the same identity
        self.is_further = True  # whether the saved progress is more than that of any earlier attempt

    def fail(self, reason: str) -> bool:
        return bool(self.store.fail(self.job_id, self.attempt, reason))

    def context(self, handle: LeaseHandle) -> JobContext:
        """The context of the audit's task."""
        reporter = self.executor.reporter

        def progress(part: str, done: int, total: int) -> None:
            handle.progress(part, done, total)
            if reporter is not None:
                reporter.part(self.job.entry.model, part, done, total)

        def look_up(identity: str) -> bool:
            self.stored_audit_id = self.find_stored(identity)
            return self.stored_audit_id is None or self.reverify

        def check() -> None:
            handle.check()
            self.executor.check_stopped()

        return JobContext(
            progress=progress,
            needs_measuring=look_up,
            earlier=self.find_earlier,
            models=self.count_models,
            load=self.load,
            save=self.save,
            stopped=check,
        )

    def find_earlier(self) -> tuple[int, Verdicts] | None:
        """The ID and the verdicts of the model's last complete result under this setting; None without one."""
        return previous_verdicts(self.store.engine, self.job.audit_id, self.job.scan_id)

    def count_models(self) -> int:
        """The number of models of the scan."""
        return count_audits(self.store.engine, self.job.scan_id)

    def find_stored(self, identity: str) -> int | None:
        """The ID of the stored result of this identity; None if there is none, or it is not to be used."""
        return None if self.force else self.store.find_done(self.job.entry.model, identity)

    def load(self, key: str) -> bytes | None:
        saved: bytes | None = self.leases.load_progress(self.job.audit_id, key)
        if saved:
            logger.info("audit %d, %s: resumes from its saved progress", self.job.audit_id, self.job.entry.model)
            tracing.event("resumed from saved progress")
        elif self.attempt > 1:  # starts again: an earlier attempt reached what this one will save first
            self.is_further = not self.leases.has_progress(self.job.audit_id)
        return saved

    def save(self, key: str, state: bytes) -> None:
        self.is_further &= bool(state)  # an empty state: the loaded one was of no use, and the audit starts again
        try:
            self.leases.save_progress(self.job.audit_id, self.attempt, key, state, further=self.is_further)
        except UNAVAILABLE as error:
            logger.warning("audit of %s: progress not saved: %s", self.job.entry.model, first_line(error))

    def store_result(self, record: AuditRecord | None) -> str:
        """Store the record, or a reference to the stored result of the same identity; returns the outcome."""
        audit_id, attempt, stored_id = self.job_id, self.attempt, self.stored_audit_id
        if record is not None and self.reverify and stored_id is not None:
            differing = flag_difference(self.store.engine, stored_id, record)
            if differing is not None:
                return "done" if self.store.finish(audit_id, attempt, differing) else "taken"
            confirmed = self.store.reuse(self.job.scan_id, audit_id, attempt, stored_id, reverified=True)
            return "verified" if confirmed else "taken"
        if record is not None:
            stored_id = self.find_stored(record.identity)  # another scan may have stored one meanwhile
            if stored_id is None or self.reverify:
                return "done" if self.store.finish(audit_id, attempt, record) else "taken"
        if stored_id is None:
            return "taken"
        return "reused" if self.store.reuse(self.job.scan_id, audit_id, attempt, stored_id) else "taken"
