"""The heartbeat: a thread that renews the lease of the job that its process runs, and learns of its loss or end."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from auditor.db.ending import now
from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE
from auditor.db.workers import WorkerStatus, remove_worker, report_worker
from auditor.jobs.process_names import process_name

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
"""Longest time between two heartbeats, and so the longest time until a job notices that it was cancelled."""


class LeaseLostError(Exception):
    """The job belongs to another process now, or has ended: the database refuses the results of this process."""


class JobCancelledError(Exception):
    """A user cancelled the job."""


@dataclass
class LeaseHandle:
    """A job that this process runs: the state of its lease, and its progress."""

    leases: Leases
    job_id: int
    attempt: int
    state: str = "active"
    part: str | None = None
    part_done: int | None = None
    part_total: int | None = None

    def check(self) -> None:
        """Raises LeaseLostError or JobCancelledError if the last heartbeat found that."""
        if self.state == "lost":
            raise LeaseLostError
        if self.state == "cancelling":
            raise JobCancelledError

    def progress(self, part: str, done: int, total: int) -> None:
        self.part, self.part_done, self.part_total = part, done, total


class Heartbeat:
    """A thread that writes the row of a process, or of one of its slots, to ``workers`` and renews its job's lease."""

    def __init__(self, engine: Engine, *, queue: str, device: str, lease: float, slot: int = 0) -> None:
        self.lease = lease
        self._engine = engine
        self.queue = queue
        self._status = WorkerStatus(name=process_name(slot), queue=queue, device=device, started_at=now())
        self._handle: LeaseHandle | None = None
        self._end, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def name(self) -> str:
        return self._status.name

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the process from ``workers`` after the last heartbeat."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(*UNAVAILABLE):
            remove_worker(self._engine, self.name)

    @contextlib.contextmanager
    def keep_lease(self, leases: Leases, job_id: int, attempt: int) -> Iterator[LeaseHandle]:
        """Renew a claimed job's lease while the context lasts."""
        with self._lock:
            without_patience = type(leases)(leases.engine)  # a heartbeat does not wait for the database
            self._handle = LeaseHandle(without_patience, job_id, attempt)
        try:
            yield self._handle
        finally:
            with self._lock:
                self._handle = None

    def beat(self) -> None:
        """Send one heartbeat; if the database is unavailable, the next heartbeat tries again."""
        with self._lock, contextlib.suppress(*UNAVAILABLE):
            handle, status = self._handle, self._status
            if handle is not None and handle.state != "lost":
                handle.state = handle.leases.renew(handle.job_id, handle.attempt, self.lease)
            if handle is not None and handle.state != "lost":
                job = {f"{handle.leases.kind}_id": handle.job_id}
                status = replace(status, part=handle.part, **job)  # type: ignore[arg-type]
                status = replace(status, part_done=handle.part_done, part_total=handle.part_total)
            try:
                report_worker(self._engine, status)
            except IntegrityError:  # the job's row was deleted, because an earlier audit has replaced it
                report_worker(self._engine, self._status)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception:  # without heartbeats the job would be lost
                logger.exception("the heartbeat failed")
            if self._end.wait(min(BEAT_SECONDS, self.lease / 3)):
                return
