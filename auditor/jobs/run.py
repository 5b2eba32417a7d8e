"""Run a claimed job, an audit or a training, and store its outcome: the one code path of every job. No torch."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from auditor import tracing
from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE, cause_of
from auditor.db.store import Job
from auditor.errors import AuditorError, first_line, one_line
from auditor.jobs.heartbeat import Heartbeat, JobCancelledError, LeaseHandle, LeaseLostError
from auditor.records import LOCAL_QUEUE
from auditor.tracing import CARRIER, Kind, Span

logger = logging.getLogger(__name__)


ResultT = TypeVar("ResultT")
ResultT_contra = TypeVar("ResultT_contra", contravariant=True)


class Reporter(Protocol):
    """Follows the audits of a scan."""

    def model(self, name: str) -> None:
        """An audit starts."""

    def part(self, name: str, part: str, done: int, total: int) -> None:
        """``done`` of ``total`` steps of a part of the audit are done."""

    def ended(self, name: str, outcome: str) -> None:
        """An audit ended: ``done``, ``reused``, ``verified``, ``cancelled`` or ``failed: REASON``.

        ``taken``: another process has claimed or ended the job, and this one has stored nothing.
        """


def log_end(job: Job, outcome: str, seconds: float) -> None:
    """Log the end of an attempt in one line, the same wherever the attempt ran."""
    fields = {"outcome": outcome.partition(":")[0], "seconds": round(seconds, 3)}
    logger.info("audit %d, %s: %s after %.1f s", job.audit_id, job.entry.model, outcome, seconds, extra=fields)


def open_attempt_span(
    name: str, request: Mapping[str, Any], began: datetime, queue: str, **attributes: Any
) -> AbstractContextManager[Span]:
    """The span of an attempt, a part of its command's span, which another process may have recorded.

    ``request``: the job's request as stored. ``attributes``: as of :func:`auditor.tracing.span`.
    """
    kind: Kind = "internal" if queue == LOCAL_QUEUE else "consumer"
    return tracing.span(name, kind=kind, parent=request.get(CARRIER), began=began, queue=queue, **attributes)


def record_outcome(span: Span, outcome: str) -> None:
    """Record how an attempt ended."""
    kind, _, reason = outcome.partition(": ")
    span.set(outcome=kind)
    if kind == "failed":
        span.fail(reason)


class JobAttempt(Protocol[ResultT_contra]):
    """One attempt at one job: its lease, and what it stores in the database."""

    job_id: int
    attempt: int
    name: str

    @property
    def leases(self) -> Leases: ...

    def store_result(self, result: ResultT_contra) -> str:
        """Store the result; returns the outcome."""

    def fail(self, reason: str) -> bool:
        """Store why the job failed; False if the job belongs to another process now."""


def run_claimed(attempt: JobAttempt[ResultT], heartbeat: Heartbeat, work: Callable[[LeaseHandle], ResultT]) -> str:
    """Do the work of a claimed job and store its result; returns the outcome, see :meth:`Reporter.ended`.

    Raises:
        SQLAlchemyError: the database is unavailable; if it cannot even take the job back, the lease will expire.
    """
    leases, key = attempt.leases, (attempt.job_id, attempt.attempt)
    try:
        with heartbeat.keep_lease(leases, *key) as handle:
            return _run_to_outcome(attempt, handle, work)
    except BaseException:  # this process must end, whatever it is doing, or the database is unavailable
        with contextlib.suppress(SQLAlchemyError):  # the first error is raised
            leases.give_back(*key) or leases.cancelled(*key)
        raise


def _run_to_outcome(attempt: JobAttempt[ResultT], handle: LeaseHandle, work: Callable[[LeaseHandle], ResultT]) -> str:
    try:
        return attempt.store_result(work(handle))
    except LeaseLostError:
        return "taken"
    except JobCancelledError:
        return "cancelled" if attempt.leases.cancelled(attempt.job_id, attempt.attempt) else "taken"
    except UNAVAILABLE as error:
        logger.error("%s: could not be stored: %s", attempt.name, cause_of(error))
        raise
    except SQLAlchemyError as error:
        reason = f"could not be stored: {cause_of(error)}"
    except Exception as error:  # whatever a model's code raises fails its audit, not the scan
        reason = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
        logger.debug("%s failed", attempt.name, exc_info=True)
    reason = one_line(reason)
    return f"failed: {reason}" if attempt.fail(reason) else "taken"
