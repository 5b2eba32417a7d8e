"""Puts back what was lost: jobs of dead processes, scans of dead processes, messages that a broker forgot."""

import logging
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Engine

from auditor.db.leases import Leases, Unsent
from auditor.db.retry import UNAVAILABLE
from auditor.db.scans import list_local_scans
from auditor.db.store import Store
from auditor.db.trainings import TrainingLeases, list_trainings
from auditor.db.workers import list_workers, remove_worker
from auditor.errors import AuditorError
from auditor.jobs.lease import ExpiryWatch, is_gone

logger = logging.getLogger(__name__)


class Broker(Protocol):
    """The part of :mod:`auditor.jobs.queue` that a reaper needs."""

    def send(self, jobs: Sequence[Unsent], queue: str) -> None: ...
    def count_waiting(self, queue: str) -> int: ...


class Reaper:
    """Looks again and again; as many of them as there are workers may look at once, each change is made once."""

    def __init__(self, engine: Engine, lease: float, broker: Broker | None = None, queues: Sequence[str] = ()) -> None:
        self.engine, self.broker, self.queues = engine, broker, queues
        self.leases = {one.kind: one for one in (Leases(engine), TrainingLeases(engine))}
        self._jobs, self._scans, self._workers = ExpiryWatch(lease), ExpiryWatch(lease), ExpiryWatch(2 * lease)
        self._missing: dict[str, int] = {}

    def look(self) -> None:
        """All of it, one after the other."""
        self.look_at_processes()
        self.look_at_messages()

    def look_at_messages(self) -> None:
        """Takes as long as a broker that hangs."""
        for queue in self.queues:
            self._send_again(queue)

    def look_at_processes(self) -> None:
        """To be called several times in the length of a lease. While the database is away nobody is blamed."""
        try:
            self.expire_jobs()
            self._abandon_scans()
            self._forget_workers()
        except UNAVAILABLE:
            for watch in (self._jobs, self._scans, self._workers):
                watch.forget()
            raise

    def expire_jobs(self) -> None:
        leases = {
            (kind, lease.job_id, lease.attempt): lease for kind, of in self.leases.items() for lease in of.running()
        }
        own = {key: lease.seconds for key, lease in leases.items()}
        for key in self._jobs.stale({key: lease.until for key, lease in leases.items()}, own):
            state = self.leases[key[0]].expire(leases[key])
            if state is not None:
                logger.warning("%s %d: %s is lost, the %s is %s", *key[:2], leases[key].worker, key[0], state)

    def _abandon_scans(self) -> None:
        scans = {scan.scan_id: scan for scan in list_local_scans(self.engine)}
        for scan_id in self._scans.stale({number: (scan.worker, scan.seen_at) for number, scan in scans.items()}):
            Store(self.engine).cancel(scan_id, f"{scans[scan_id].worker or 'its process'} ended without a word")
            logger.warning("scan %d: its process is lost", scan_id)

    def _forget_workers(self) -> None:
        seen = {row["worker"]: row["seen_at"] for row in list_workers(self.engine)}
        for name in self._workers.stale(seen):
            remove_worker(self.engine, name)

    def _send_again(self, queue: str) -> None:
        """Send what the database has queued beyond what the broker holds, if that was so at the last look, too."""
        if self.broker is None:
            return
        try:
            queued = sum(leases.count_queued(queue) for leases in self.leases.values())
            missing = queued - self.broker.count_waiting(queue)
            again = min(missing, self._missing.get(queue, 0))
            self._missing[queue] = missing
            if again > 0:
                jobs = [job for leases in self.leases.values() for job in leases.longest_unsent(queue, again)]
                for kind, leases in self.leases.items():
                    leases.mark_sent([job.job_id for job in jobs if job.kind == kind])
                self.broker.send(jobs, queue)
                self._missing[queue] = 0
                logger.warning("queue %s: %d messages sent again", queue, len(jobs))
        except UNAVAILABLE:
            raise
        except (AuditorError, OSError) as error:
            logger.warning("queue %s: %s", queue, error)


def abandon_dead_scans(engine: Engine) -> None:
    """End the scans, boosts and adaptations of this machine's processes that are known to be gone; needs no waiting."""
    for scan in list_local_scans(engine):
        if scan.worker is not None and is_gone(scan.worker):
            Store(engine).cancel(scan.scan_id, f"{scan.worker} ended without a word")
    for row in list_trainings(engine, state="running"):
        if row["queue"] == "here" and is_gone(row["worker"]):
            reason = f"{row['worker']} ended without a word; see `auditor trainings resume {row['id']}`"
            TrainingLeases(engine).abandon(row["id"], row["attempt"], reason)
    for row in list_workers(engine):
        if is_gone(row["worker"]):
            remove_worker(engine, row["worker"])
