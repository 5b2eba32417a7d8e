"""Run a claimed job and store its outcome: the one code path of every job. No torch."""

import contextlib
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.db.store import Job
from auditor.errors import AuditorError, first_line, one_line
from auditor.jobs.lease import Heartbeat, JobCancelledError, LeaseHandle, LeaseLostError

logger = logging.getLogger(__name__)


Found = TypeVar("Found")


Found_contra = TypeVar("Found_contra", contravariant=True)


class Reporter(Protocol):
    """Who wants to know how a scan gets on."""

    def model(self, name: str) -> None:
        """An audit begins."""

    def part(self, name: str, part: str, done: int, total: int) -> None:
        """A part of it has come this far."""

    def ended(self, name: str, outcome: str) -> None:
        """It is ``done``, ``reused``, ``taken``, ``cancelled`` or ``failed: REASON``."""


def log_end(job: Job, ended: str, seconds: float) -> None:
    """The one line that each attempt leaves, wherever it ran."""
    outcome = {"outcome": ended.partition(":")[0], "seconds": round(seconds, 3)}
    logger.info("audit %d, %s: %s after %.1f s", job.audit_id, job.entry.model, ended, seconds, extra=outcome)


class JobAttempt(Protocol[Found_contra]):
    """One attempt at one job: its lease, what is asked of the database for it, and what is left there."""

    job_id: int
    attempt: int
    name: str

    @property
    def leases(self) -> Leases: ...

    def store_result(self, found: Found_contra) -> str:
        """Store what was found; what has become of the job, in a word."""

    def fail(self, reason: str) -> bool:
        """Store why the job failed; False where it is another process's by now."""


def carry_out(job_attempt: JobAttempt[Found], heartbeat: Heartbeat, work: Callable[[LeaseHandle], Found]) -> str:
    """A claimed job, worked on and stored; returns how it ended, as :func:`run_audit`."""
    leases, mine = job_attempt.leases, (job_attempt.job_id, job_attempt.attempt)
    with heartbeat.keep_lease(leases, *mine) as handle:
        try:
            found = work(handle)
        except LeaseLostError:
            return "taken"
        except JobCancelledError:
            return "cancelled" if leases.cancelled(*mine) else "taken"
        except SQLAlchemyError as error:
            return _not_stored(job_attempt, error)
        except Exception as error:  # a model is other people's code: whatever it raises is its failure, not the scan's
            said = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
            reason = one_line(said)
            logger.debug("%s failed", job_attempt.name, exc_info=True)
            return f"failed: {reason}" if job_attempt.fail(reason) else "taken"
        except BaseException:
            with contextlib.suppress(SQLAlchemyError):  # of two errors the first one counts
                leases.give_back(*mine) or leases.cancelled(*mine)
            raise
        try:
            return job_attempt.store_result(found)
        except SQLAlchemyError as error:
            return _not_stored(job_attempt, error)


def _not_stored(job_attempt: JobAttempt[Found], error: SQLAlchemyError) -> str:
    """A result that the database does not take: for a while, and the job goes back; or at all, and the job has failed.

    Raises:
        SQLAlchemyError: the database takes not even that; the lease will run out.
    """
    reason = one_line(f"could not be stored: {cause_of(error)}")
    if isinstance(error, UNAVAILABLE):
        logger.error("%s: %s", job_attempt.name, reason)
        job_attempt.leases.give_back(job_attempt.job_id, job_attempt.attempt)
        raise error
    return f"failed: {reason}" if job_attempt.fail(reason) else "taken"
