"""Finds lost jobs, scans and messages: puts jobs back, ends scans, sends messages again."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Engine

from auditor import tracing
from auditor.db.leases import Lease, Leases, Unsent
from auditor.db.retry import UNAVAILABLE
from auditor.db.scans import list_local_scans
from auditor.db.store import Store
from auditor.db.trainings import TrainingLeases, Trainings, list_trainings
from auditor.db.workers import list_workers, remove_worker
from auditor.errors import AuditorError
from auditor.jobs.expiry_watch import ExpiryWatch
from auditor.jobs.process_names import is_gone
from auditor.records import LOCAL_QUEUE

logger = logging.getLogger(__name__)

LOOKS = 3
"""Messages are lost if they are missing at so many looks: at two, a second client's jobs would hide that one sends."""


class Broker(Protocol):
    """The part of :mod:`auditor.jobs.queue` that a reaper needs."""

    def send(self, jobs: Sequence[Unsent], queue: str) -> None: ...
    def count_waiting(self, queue: str) -> int: ...


class Reaper:
    """Checks leases and queues. Each worker has a reaper; several may check at once, and each change is made once."""

    def __init__(
        self,
        engine: Engine,
        lease: float,
        broker: Broker | None = None,
        queues: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine, self.broker, self.queues = engine, broker, queues
        self.leases = {leases.kind: leases for leases in (Leases(engine), TrainingLeases(engine))}
        self._jobs, self._scans = ExpiryWatch(lease, clock), ExpiryWatch(lease, clock)
        self._workers = ExpiryWatch(2 * lease, clock)
        self._looks = {queue: deque[int](maxlen=LOOKS) for queue in queues}

    def check(self) -> None:
        """Check processes, then messages."""
        self.check_processes()
        self.check_messages()

    def check_messages(self) -> None:
        """Send lost messages again. A broker that hangs delays this."""
        for queue in self.queues:
            self._resend(queue)

    def check_processes(self) -> None:
        """Expire jobs, scans and workers. Call this several times within a lease.

        While the database is unavailable no heartbeat arrives; afterwards every lease gets its full length again.
        """
        try:
            self.expire_jobs()
            self._cancel_lost_scans()
            self._remove_lost_workers()
        except UNAVAILABLE:
            for watch in (self._jobs, self._scans, self._workers):
                watch.reset()
            raise

    def expire_jobs(self) -> None:
        """Put jobs back whose leases have expired."""
        running = {
            (kind, lease.job_id, lease.attempt): lease
            for kind, leases in self.leases.items()
            for lease in leases.running()
        }
        seconds = {key: lease.seconds for key, lease in running.items()}
        for key in self._jobs.find_stale({key: lease.until for key, lease in running.items()}, seconds):
            kind, job_id, _ = key
            state = self.leases[kind].expire(running[key])
            if state is not None:
                logger.warning("%s %d: its process %s is lost; new state: %s", kind, job_id, running[key].worker, state)
                self._trace_loss(kind, running[key], state)

    def _trace_loss(self, kind: str, lease: Lease, state: str) -> None:
        """Record the span of an attempt that was lost with its process, and with what that process recorded."""
        if not tracing.is_on():
            return
        store = Store(self.engine) if kind == "audit" else Trainings(self.engine)
        job = store.load_job(lease.job_id)
        with tracing.span(
            "audit" if kind == "audit" else "attempt",
            kind="consumer",
            parent=None if job is None else job.request.get(tracing.CARRIER),
            began=lease.started_at,
            attempt=lease.attempt,
            worker=lease.worker,
            outcome="lost",
            state=state,
            **{kind: lease.job_id},
        ) as span:
            span.fail(f"{lost_reason(lease.worker)}; new state: {state}")

    def _cancel_lost_scans(self) -> None:
        scans = {scan.scan_id: scan for scan in list_local_scans(self.engine)}
        heartbeats = {scan_id: (scan.worker, scan.seen_at) for scan_id, scan in scans.items()}
        for scan_id in self._scans.find_stale(heartbeats):
            Store(self.engine).cancel(scan_id, lost_reason(scans[scan_id].worker))
            logger.warning("scan %d: its process is lost", scan_id)

    def _remove_lost_workers(self) -> None:
        heartbeats = {row.worker: row.seen_at for row in list_workers(self.engine)}
        for name in self._workers.find_stale(heartbeats):
            remove_worker(self.engine, name)

    def _resend(self, queue: str) -> None:
        """Send as many jobs as the broker has had fewer messages than the database has queued jobs, at every look.

        While that number falls, a client or another reaper is sending them.
        """
        if self.broker is None:
            return
        try:
            queued = sum(leases.count_queued(queue) for leases in self.leases.values())
            looks = self._looks[queue]
            looks.append(queued - self.broker.count_waiting(queue))
            lost = looks[0] if len(looks) == LOOKS and list(looks) == sorted(looks) else 0
            if lost > 0:
                jobs = [job for leases in self.leases.values() for job in leases.longest_unsent(queue, lost)]
                jobs = sorted(jobs, key=_when_sent)[:lost]
                for kind, leases in self.leases.items():
                    leases.mark_sent([job.job_id for job in jobs if job.kind == kind])
                self.broker.send(jobs, queue)
                looks.clear()
                logger.warning("queue %s: %d messages sent again", queue, len(jobs))
        except UNAVAILABLE:
            raise
        except (AuditorError, OSError) as error:
            logger.warning("queue %s: %s", queue, error)


def _when_sent(job: Unsent) -> tuple[bool, datetime]:
    """Sorts jobs that were never sent before those that were sent longest ago."""
    return (job.sent_at is not None, job.sent_at or datetime.min.replace(tzinfo=UTC))


def lost_reason(worker: str | None) -> str:
    """Why the job of a lost process failed."""
    return f"{worker or 'its process'} ended unexpectedly"


def abandon_dead_scans(engine: Engine) -> None:
    """Cancel scans, boosts and adaptations of processes of this machine that have ended, without waiting for leases."""
    for scan in list_local_scans(engine):
        if scan.worker is not None and is_gone(scan.worker):
            Store(engine).cancel(scan.scan_id, lost_reason(scan.worker))
    for row in list_trainings(engine, state="running"):
        if row.queue == LOCAL_QUEUE and row.worker is not None and is_gone(row.worker):
            reason = f"{lost_reason(row.worker)}; run `auditor trainings resume {row.id}`"
            TrainingLeases(engine).abandon(row.id, row.attempt, reason)
    for process in list_workers(engine):
        if is_gone(process.worker):
            remove_worker(engine, process.worker)
