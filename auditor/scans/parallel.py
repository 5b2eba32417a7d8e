"""How many models a scan measures side by side on this machine, and each model's share of threads and memory.

A small model cannot keep many cores busy. With one core each, small models take half the time.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil

from auditor import tracing
from auditor.config import settings
from auditor.errors import MemoryLimitError
from auditor.jobs.audit import Measure
from auditor.jobs.child import ChildFactory
from auditor.jobs.tasks import measure_audit
from auditor.machine.devices import count_cores, count_memory, share_of_threads, threads_asked
from auditor.records import AuditRecord, JobContext, Measurement, ZooEntry
from auditor.zoo import Source

SMALL_BYTES = 8 * 2**20
"""Most bytes of weights of a small model: two million numbers."""
SMALL_PIXELS = 64 * 64
"""Most pixels of its images."""
MOST_JOBS = 64
BASE_MEMORY = 2**29
"""Bytes of a process that has imported torch and does nothing else."""
MAPS = 256
"""Feature maps, each as large as the image, that most small networks keep for the backward pass, at most."""
POLL_SECONDS = 0.25


def share_machine(
    source: Source, entries: Sequence[ZooEntry], request: Measurement, *, jobs: int | None, memory: int | None
) -> ChildFactory:
    """Divide this machine among ``jobs`` children; for None, as many as the cores, the memory and the models allow.

    By default only small models are measured side by side. Larger models, and models on a GPU, run one after the
    other with all threads, because each keeps the device busy and may need most of the memory.

    Args:
        memory: the requested limit per model in bytes, if any.
    """
    threads = settings().threads
    if jobs is None:
        jobs = _most_jobs(source, entries, request, threads or threads_asked() or 1, memory)
    default = None if jobs == 1 else threads_asked() or share_of_threads(jobs)
    return ChildFactory(processes=jobs, threads=threads or default)


def _most_jobs(
    source: Source, entries: Sequence[ZooEntry], request: Measurement, threads: int, memory: int | None
) -> int:
    if request.audit.device != "cpu" or not are_small(source, entries):
        return 1
    needed = memory or max(memory_of(entry, request) for entry in entries)
    fitting: int = min(psutil.virtual_memory().available, count_memory()) // needed
    return max(1, min(len(entries), count_cores() // threads, fitting, MOST_JOBS))


def are_small(source: Source, entries: Sequence[ZooEntry]) -> bool:
    """Whether all of these models are small. A model whose size is unknown counts as large."""
    if not entries or any(entry.input_size[1] * entry.input_size[2] > SMALL_PIXELS for entry in entries):
        return False
    weights = source.weight_bytes(entries)
    return weights is not None and weights <= SMALL_BYTES


def memory_of(entry: ZooEntry, request: Measurement) -> int:
    """Bytes that measuring a small model needs, estimated from its images."""
    batch = request.audit.batch_size if request.samples is None else min(request.samples, request.audit.batch_size)
    return BASE_MEMORY + max(batch, 1) * entry.input_size[1] * entry.input_size[2] * 4 * MAPS


def make_measure(make_child: ChildFactory, seconds: float, memory: int | None) -> Measure:
    """Measure models in child processes, each within its share of the machine or ``memory`` bytes."""
    child = make_child(measure_audit, seconds, memory)
    if make_child.processes == 1 or memory is not None:
        return child
    return SharedMemoryMeasure(child, replace(make_child, processes=1)(measure_audit, seconds, None))


class SharedMemoryMeasure:
    """Measures models side by side; a model that exceeds its share of the memory is measured again, ``alone``.

    Several threads may call this at once.
    """

    def __init__(self, shared: Measure, alone: Measure) -> None:
        self.shared, self.alone = shared, alone
        self._changed, self._running, self._is_alone, self._waiting_alone = threading.Condition(), 0, False, 0

    def __call__(
        self, source: Source, entry: ZooEntry, request: Measurement, context: JobContext
    ) -> AuditRecord | None:
        """Measure one model, as :func:`auditor.jobs.tasks.measure_audit` does."""
        try:
            with self._beside_others(context.stopped):
                return self.shared(source, entry, request, context)
        except MemoryLimitError as error:
            tracing.event("out of memory: measured again, alone", reason=str(error))
            with self._by_itself(context.stopped):
                return self.alone(source, entry, request, context)

    @contextmanager
    def _beside_others(self, stopped: Callable[[], None]) -> Iterator[None]:
        self._wait(stopped, lambda: not self._is_alone and not self._waiting_alone)
        self._running += 1
        self._changed.release()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def _by_itself(self, stopped: Callable[[], None]) -> Iterator[None]:
        with self._changed:
            self._waiting_alone += 1
        try:
            self._wait(stopped, lambda: not self._is_alone and not self._running)
            self._is_alone = True
            self._changed.release()
        finally:
            with self._changed:
                self._waiting_alone -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()

    def _wait(self, stopped: Callable[[], None], free: Callable[[], bool]) -> None:
        """Acquire the lock when ``free`` returns True; ``stopped`` may raise to end the wait."""
        self._changed.acquire()
        while not free():
            self._changed.wait(POLL_SECONDS)
            self._changed.release()
            stopped()
            self._changed.acquire()
