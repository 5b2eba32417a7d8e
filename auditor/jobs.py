"""Claim, run, store: the one code path of every job, wherever it runs. No torch: what measures has it."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from auditor.db.leases import Leases
from auditor.db.patience import AWAY, cause_of
from auditor.db.reverify import compared
from auditor.db.store import Job, Store
from auditor.errors import AuditorError, first_line, one_line
from auditor.leases import Heart, Hold, JobCancelledError, LeaseLostError
from auditor.logs import about
from auditor.records import AuditRecord, Contact, Estimate, Measurement, ZooEntry
from auditor.zoo import Source

logger = logging.getLogger(__name__)
Found = TypeVar("Found")
Found_contra = TypeVar("Found_contra", contravariant=True)

Estimator = Callable[[Source, ZooEntry, Measurement, Contact], Estimate | None]
Measure = Callable[[Source, ZooEntry, Measurement, Contact], AuditRecord | None]
"""How one model is measured: :func:`auditor.measure.measure` itself, or the same in a child process."""


class Reporter(Protocol):
    """Who wants to know how a scan gets on."""

    def model(self, name: str) -> None:
        """An audit begins."""

    def part(self, name: str, part: str, done: int, total: int) -> None:
        """A part of it has come this far."""

    def ended(self, name: str, outcome: str) -> None:
        """It is ``done``, ``reused``, ``taken``, ``cancelled`` or ``failed: REASON``."""


def run_audit(
    store: Store,
    job: Job,
    open_source: Callable[[], Source],
    request: Measurement,
    measure: Measure,
    heart: Heart,
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
    with about(scan=job.scan_id, audit=job.audit_id, model=job.entry.model, worker=heart.name):
        attempt = store.claim(job.audit_id, heart.name, heart.lease, heart.queue)
        with about(attempt=attempt):
            ended = "taken"
            if attempt is not None:
                desk = _Desk(store, job, attempt, force=force, reverify=reverify)

                def work(hold: Hold) -> AuditRecord | None:
                    return measure(open_source(), job.entry, request, desk.contact(hold, reporter, stopped))

                ended = carry_out(desk, heart, work)
            log_end(job, ended, time.monotonic() - began)
            return ended


def log_end(job: Job, ended: str, seconds: float) -> None:
    """The one line that each attempt leaves, wherever it ran."""
    outcome = {"outcome": ended.partition(":")[0], "seconds": round(seconds, 3)}
    logger.info("audit %d, %s: %s after %.1f s", job.audit_id, job.entry.model, ended, seconds, extra=outcome)


class Desk(Protocol[Found_contra]):
    """One attempt at one job: its lease, what is asked of the database for it, and what is left there."""

    job_id: int
    attempt: int
    name: str

    @property
    def leases(self) -> Leases: ...

    def put_away(self, found: Found_contra) -> str:
        """Store what was found; what has become of the job, in a word."""

    def fail(self, reason: str) -> bool:
        """Store why the job failed; False where it is another process's by now."""


def carry_out(desk: Desk[Found], heart: Heart, work: Callable[[Hold], Found]) -> str:
    """A claimed job, worked on and stored; returns how it ended, as :func:`run_audit`."""
    leases, mine = desk.leases, (desk.job_id, desk.attempt)
    with heart.holding(leases, *mine) as hold:
        try:
            found = work(hold)
        except LeaseLostError:
            return "taken"
        except JobCancelledError:
            return "cancelled" if leases.cancelled(*mine) else "taken"
        except SQLAlchemyError as error:
            return _not_stored(desk, error)
        except Exception as error:  # a model is other people's code: whatever it raises is its failure, not the scan's
            said = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
            reason = one_line(said)
            logger.debug("%s failed", desk.name, exc_info=True)
            return f"failed: {reason}" if desk.fail(reason) else "taken"
        except BaseException:
            with contextlib.suppress(SQLAlchemyError):  # of two errors the first one counts
                leases.give_back(*mine) or leases.cancelled(*mine)
            raise
        try:
            return desk.put_away(found)
        except SQLAlchemyError as error:
            return _not_stored(desk, error)


def _not_stored(desk: Desk[Found], error: SQLAlchemyError) -> str:
    """A result that the database does not take: for a while, and the job goes back; or at all, and the job has failed.

    Raises:
        SQLAlchemyError: the database takes not even that; the lease will run out.
    """
    reason = one_line(f"could not be stored: {cause_of(error)}")
    if isinstance(error, AWAY):
        logger.error("%s: %s", desk.name, reason)
        desk.leases.give_back(desk.job_id, desk.attempt)
        raise error
    return f"failed: {reason}" if desk.fail(reason) else "taken"


class _Desk:
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

    def contact(self, hold: Hold, reporter: Reporter | None, stopped: Callable[[], None]) -> Contact:
        def progress(part: str, done: int, total: int) -> None:
            hold.progress(part, done, total)
            if reporter is not None:
                reporter.part(self.job.entry.model, part, done, total)

        def look() -> None:
            hold.check()
            stopped()

        return Contact(progress=progress, wanted=self.wanted, load=self.load, save=self.save, stopped=look)

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
        except AWAY as error:
            logger.warning("audit of %s: progress not saved: %s", self.job.entry.model, first_line(error))

    def put_away(self, record: AuditRecord | None) -> str:
        """Store what was found, or that it had been before, or was by another scan meanwhile."""
        audit_id, attempt = self.job.audit_id, self.attempt
        if record is not None and self.reverify and self.done is not None:
            differing = compared(self.store.engine, self.done, record)
            if differing is not None:
                return "done" if self.store.finish(audit_id, attempt, differing) else "taken"
            kept = self.store.reuse(self.job.scan_id, audit_id, attempt, self.done, reverified=True)
            return "verified" if kept else "taken"
        if record is not None and self.wanted(record.identity):
            return "done" if self.store.finish(audit_id, attempt, record) else "taken"
        if self.done is None:
            return "taken"
        return "reused" if self.store.reuse(self.job.scan_id, audit_id, attempt, self.done) else "taken"
