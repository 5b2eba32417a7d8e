"""How many models a scan on this machine measures side by side, with how many threads each, in how much memory.

Small models cannot keep many cores busy: measured one a core they take half the time, and none waits for another.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psutil

from auditor.config import settings
from auditor.errors import MemoryLimitError
from auditor.jobs.child import ChildProcess
from auditor.jobs.limits import Limits
from auditor.machine.devices import count_cores, share_of_threads, threads_asked
from auditor.records import JobContext, Measurement, ZooEntry
from auditor.zoo import Source

SMALL_BYTES = 8 * 2**20
"""Weights of a small model at most: two million numbers."""
SMALL_PIXELS = 64 * 64
"""Pixels of its images at most."""
MOST_JOBS = 64
BASE_MEMORY = 2**29
"""Bytes of a process that has imported torch and measures nothing."""
MAPS = 256
"""Feature maps as large as the image that a small network keeps for its backward pass, at most for most."""
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Shares:
    """So many models at once; ``threads`` of torch for each, None for all of torch's choice."""

    jobs: int
    threads: int | None


def share_machine(
    source: Source, entries: Sequence[ZooEntry], request: Measurement, *, jobs: int | None, memory: int | None
) -> Shares:
    """As many ``jobs`` as were asked for; for None, as many as the cores, the memory and the models allow.

    Only small models are measured side by side by themselves. Others have all threads, one after the other: each keeps
    the cores busy, and may need most of the memory. So has a GPU.

    Args:
        memory: bytes that one model may use, where that was asked for.
    """
    threads = settings().threads
    if jobs is None:
        jobs = _most_jobs(source, entries, request, threads or threads_asked() or 1, memory)
    return Shares(jobs, threads or (None if jobs == 1 else threads_asked() or share_of_threads(jobs)))


def _most_jobs(
    source: Source, entries: Sequence[ZooEntry], request: Measurement, threads: int, memory: int | None
) -> int:
    if request.audit.device != "cpu" or not are_small(source, entries):
        return 1
    need = memory or max(memory_of(entry, request) for entry in entries)
    room: int = psutil.virtual_memory().available // need
    return max(1, min(len(entries), count_cores() // threads, room, MOST_JOBS))


def are_small(source: Source, entries: Sequence[ZooEntry]) -> bool:
    """Whether measuring any of these models is small work; of weights that nobody knows it is taken to be large."""
    if not entries or any(entry.input_size[1] * entry.input_size[2] > SMALL_PIXELS for entry in entries):
        return False
    weights = source.weight_bytes(entries)
    return weights is not None and weights <= SMALL_BYTES


def memory_of(entry: ZooEntry, request: Measurement) -> int:
    """Bytes that measuring a small model needs, by its images; one that needs more is measured by itself."""
    batch = request.audit.batch_size if request.samples is None else min(request.samples, request.audit.batch_size)
    return BASE_MEMORY + max(batch, 1) * entry.input_size[1] * entry.input_size[2] * 4 * MAPS


def in_children(shares: Shares, seconds: float, memory: int | None, preload: tuple[str, ...]) -> Any:
    """What measures a model in a process of its own, as one of these shares."""
    limits = Limits.share(seconds, memory, shares.jobs)
    child = ChildProcess(limits=limits, preload=preload, threads=shares.threads)
    return child if shares.jobs == 1 or memory is not None else Together(child, Limits.share(seconds, None))


class Together:
    """Measures models side by side, each within its share of the memory; one that needs more, again and alone.

    Called from as many threads at once as one likes.
    """

    def __init__(self, child: ChildProcess, whole: Limits) -> None:
        self.child, self.alone = child, replace(child, limits=whole)
        self._changed, self._together, self._is_alone, self._wait_alone = threading.Condition(), 0, False, 0

    def __call__(self, source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> Any:
        """As :class:`auditor.jobs.child.ChildProcess`."""
        try:
            with self._beside_others(context.stopped):
                return self.child(source, entry, request, context)
        except MemoryLimitError:
            with self._by_itself(context.stopped):
                return self.alone(source, entry, request, context)

    @contextmanager
    def _beside_others(self, stopped: Callable[[], None]) -> Iterator[None]:
        self._wait(stopped, lambda: not self._is_alone and not self._wait_alone)
        self._together += 1
        self._changed.release()
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def _by_itself(self, stopped: Callable[[], None]) -> Iterator[None]:
        with self._changed:
            self._wait_alone += 1
        try:
            self._wait(stopped, lambda: not self._is_alone and not self._together)
            self._is_alone = True
            self._changed.release()
        finally:
            with self._changed:
                self._wait_alone -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()

    def _wait(self, stopped: Callable[[], None], free: Callable[[], bool]) -> None:
        """Return with the lock once it is this one's turn; what ``stopped`` raises ends the wait."""
        self._changed.acquire()
        while not free():
            self._changed.wait(POLL_SECONDS)
            self._changed.release()
            stopped()
            self._changed.acquire()
