"""A lease is renewed by the process that runs a job, and watched by those that would put the job back.

Nobody's wall clock decides: a lease has run out when it has not been renewed for its length by the steady clock of who
watches it. So a clock that is set, on whatever machine, costs no job its process.
"""

import contextlib
import functools
import hashlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from auditor.db.completion import now
from auditor.db.leases import Leases
from auditor.db.retry import UNAVAILABLE
from auditor.db.workers import WorkerStatus, remove_worker, report_worker

logger = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

BEAT_SECONDS = 2.0
"""Between two signs of life, at most: a job that is to be cancelled learns of it within this time."""


class LeaseLostError(Exception):
    """The job belongs to another process now, or has ended: whatever is found out about it is refused."""


class JobCancelledError(Exception):
    """Somebody asked for the job's end."""


@functools.cache
def host_name() -> str:
    """A machine's name, and four letters of its boot and its processes' namespace: containers may share a name."""
    seen = [platform.node()]
    with contextlib.suppress(OSError):
        seen += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return f"{platform.node()}-{hashlib.sha256(' '.join(seen).encode()).hexdigest()[:4]}"


def process_name(slot: int = 0) -> str:
    """``host:pid``, with the number of a slot where a process has several."""
    return f"{host_name()}:{os.getpid()}{f'/{slot}' if slot else ''}"


def is_gone(name: str) -> bool:
    """Whether a name is that of a process that this one would see, and that has ended."""
    host, _, pid = name.partition("/")[0].rpartition(":")
    return host == host_name() and pid.isdigit() and not psutil.pid_exists(int(pid))


@dataclass
class LeaseHandle:
    """A job while this process runs it."""

    leases: Leases
    job_id: int
    attempt: int
    state: str = "held"
    part: str | None = None
    part_done: int | None = None
    part_total: int | None = None

    def check(self) -> None:
        """Raises LeaseLostError or JobCancelledError once there is reason to."""
        if self.state == "lost":
            raise LeaseLostError
        if self.state == "cancelling":
            raise JobCancelledError

    def progress(self, part: str, done: int, total: int) -> None:
        self.part, self.part_done, self.part_total = part, done, total


class Heartbeat:
    """Signs of life of a process, or one of its slots, from a thread: its row among the workers, its job's lease."""

    def __init__(self, engine: Engine, *, queue: str, device: str, lease: float, slot: int = 0) -> None:
        self.lease = lease
        self._engine = engine
        self.queue = queue
        self._sign = WorkerStatus(name=process_name(slot), queue=queue, device=device, started_at=now())
        self._hold: LeaseHandle | None = None
        self._end, self._beating = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    @property
    def name(self) -> str:
        return self._sign.name

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Off the list; the thread gives its last sign before."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(*UNAVAILABLE):
            remove_worker(self._engine, self.name)

    @contextlib.contextmanager
    def keep_lease(self, leases: Leases, job_id: int, attempt: int) -> Iterator[LeaseHandle]:
        """Keep a claimed job's lease for as long as this lasts."""
        with self._beating:
            self._hold = LeaseHandle(
                type(leases)(leases.engine), job_id, attempt
            )  # a beat does not wait for the database
        try:
            yield self._hold
        finally:
            with self._beating:
                self._hold = None

    def beat(self) -> None:
        """One sign of life; a database that is away is tried again at the next."""
        with self._beating, contextlib.suppress(*UNAVAILABLE):
            handle, sign = self._hold, self._sign
            if handle is not None and handle.state != "lost":
                handle.state = handle.leases.renew(handle.job_id, handle.attempt, self.lease)
            if handle is not None and handle.state != "lost":
                of = {f"{handle.leases.kind}_id": handle.job_id}
                sign = replace(sign, part=handle.part, **of)  # type: ignore[arg-type]
                sign = replace(sign, part_done=handle.part_done, part_total=handle.part_total)
            try:
                report_worker(self._engine, sign)
            except IntegrityError:  # the job is gone since: an audit that was done before has taken its place
                report_worker(self._engine, self._sign)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception:  # a heart that stops would cost the job
                logger.exception("no sign of life could be given")
            if self._end.wait(min(BEAT_SECONDS, self.lease / 3)):
                return


class ExpiryWatch:
    """Finds what has not changed for ``seconds`` of ``clock``."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[Hashable, tuple[object, float]] = {}
        self._looked = clock()

    def stale(self, signs: Mapping[K, object], own: Mapping[K, float | None] | None = None) -> list[K]:
        """The keys whose value is what it was ``seconds`` ago. To be called several times in ``seconds``.

        ``own``: keys with other seconds, where those are more.
        """
        at = self._clock()
        if at - self._looked > self._seconds / 2:  # who did not look, frozen perhaps, has not seen that nothing changed
            self.forget()
        self._looked = at
        before = self._seen
        self._seen = {
            key: before[key] if key in before and before[key][0] == sign else (sign, at) for key, sign in signs.items()
        }
        patience = {key: max(self._seconds, (own or {}).get(key) or 0) for key in signs}
        return [key for key in signs if at - self._seen[key][1] >= patience[key]]

    def forget(self) -> None:
        self._seen = {}
