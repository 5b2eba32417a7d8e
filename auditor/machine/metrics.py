"""Prometheus metrics, read from the database whenever Prometheus asks: no process keeps counters that could be lost."""

import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from auditor.db.metrics import RECENT_HOURS, EndedCount, Snapshot, count_all, take_snapshot
from auditor.db.retry import cause_of
from auditor.db.scans import STATES
from auditor.errors import AuditorError, first_line
from auditor.machine.devices import Gpu, find_gpus
from auditor.text.printable import clean_line

logger = logging.getLogger(__name__)

COUNT_ALL_SECONDS = 60.0
"""All audits are counted once a minute; those that wait or run at each scrape."""
SCAN_STATES = ("running", "done", "interrupted")


@dataclass(eq=False)
class DatabaseMetrics:
    """A collector of prometheus_client: what the database says, and ``auditor_up 0`` while it says nothing."""

    engine: Engine
    queues: Sequence[str] = ("cpu", "gpu")
    clock: Callable[[], float] = time.monotonic
    _counted: tuple[float, list[EndedCount]] | None = None
    _expired: "MonotonicCount" = field(default_factory=lambda: MonotonicCount())

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        try:
            found = [
                *self._audits(seen := take_snapshot(self.engine)),
                *_scans(seen),
                *self._workers(seen),
                *_parts(seen),
            ]
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: %s", cause_of(error))
            found = []
        yield _gauge("auditor_up", "Whether the database answers.", (), [((), float(bool(found)))])
        took = "Seconds that the questions to the database took."
        yield _gauge("auditor_scrape_seconds", took, (), [((), time.perf_counter() - began)])
        yield from found

    def _audits(self, seen: Snapshot) -> Iterator[Metric]:
        counted = self._count_all()
        numbers = {(one.state, one.queue): one.number for one in counted if one.state not in ("queued", "running")}
        numbers |= {(one.state, one.queue): one.number for one in seen.unfinished}
        queues = dict.fromkeys((*self.queues, "here", *(queue for _, queue in numbers)))
        every = [((state, queue), numbers.get((state, queue), 0)) for queue in queues for state in STATES]
        yield _gauge("auditor_audits", "Audits in the database.", ("state", "queue"), every)
        waiting = [one for one in (*seen.unfinished, *seen.trainings) if one.state == "queued"]
        depth = [((queue,), sum(one.number for one in waiting if one.queue == queue)) for queue in self.queues]
        yield _gauge("auditor_queue_depth", "Jobs that wait for workers, by the database.", ("queue",), depth)
        oldest = [
            ((queue,), max((one.oldest for one in waiting if one.queue == queue), default=0)) for queue in self.queues
        ]
        waits = "For how long the job that has waited longest has waited."
        trained = {(one.state, one.queue): one.number for one in seen.trainings}
        trainings = [
            ((state, name), trained.get((state, name), 0)) for name in queues for state in ("queued", "running")
        ]
        unended = "Boosts and adaptations that are queued or run."
        yield _gauge("auditor_trainings_unfinished", unended, ("state", "queue"), trainings)
        yield _gauge("auditor_oldest_queued_seconds", waits, ("queue",), oldest)
        expired = CounterMetricFamily("auditor_leases_expired", "Leases that ran out: processes that were lost.")
        expired.add_metric((), self._expired.to(sum(one.losses for one in counted)))
        yield expired

    def _count_all(self) -> list[EndedCount]:
        if self._counted is None or self.clock() - self._counted[0] >= COUNT_ALL_SECONDS:
            self._counted = self.clock(), count_all(self.engine)
        return self._counted[1]

    def _workers(self, seen: Snapshot) -> Iterator[Metric]:
        queues = dict.fromkeys((*self.queues, *(one.queue for one in seen.workers)))
        alive = [((queue,), sum(one.queue == queue for one in seen.workers)) for queue in queues]
        yield _gauge("auditor_workers", "Processes that run audits, or could.", ("queue",), alive)
        silent = [((one.name, one.queue), one.silent) for one in seen.workers]
        since = "Since the last sign of life of a process; every two seconds there should be one."
        yield _gauge("auditor_worker_silent_seconds", since, ("worker", "queue"), silent)


class MonotonicCount:
    """A sum that may shrink, as audits are tried again or pruned, as a counter that does not."""

    def __init__(self) -> None:
        self._total = self._last = 0

    def to(self, now: int) -> int:
        self._total += max(0, now - self._last)
        self._last = now
        return self._total


@dataclass(eq=False)
class BrokerMetrics:
    """What the broker says; ``count`` is :func:`auditor.jobs.queue.count_waiting`."""

    queues: Sequence[str]
    count: Callable[[str], int]

    def collect(self) -> Iterator[Metric]:
        try:
            waiting = [((queue,), float(self.count(queue))) for queue in self.queues]
        except (AuditorError, OSError) as error:
            logger.warning("%s", first_line(error))
            waiting = []
        yield _gauge("auditor_broker_up", "Whether the broker answers.", (), [((), float(bool(waiting)))])
        if waiting:
            messages = "Messages in the broker that no worker has taken."
            yield _gauge("auditor_broker_messages", messages, ("queue",), waiting)


@dataclass(eq=False)
class GpuMetrics:
    """The GPUs of the machine that this process is on; nothing where there is none."""

    find: Callable[[], list[Gpu]] = find_gpus
    host: str = field(default_factory=platform.node)

    def collect(self) -> Iterator[Metric]:
        gpus = self.find()
        if not gpus:
            return
        kinds: list[tuple[str, str, Callable[[Gpu], float | None]]] = [
            ("auditor_gpu_memory_used_bytes", "Memory of a GPU that is in use, by whomever.", lambda gpu: gpu.used),
            ("auditor_gpu_memory_bytes", "Memory of a GPU.", lambda gpu: gpu.total),
            ("auditor_gpu_busy_ratio", "The share of time in which a GPU did something.", lambda gpu: gpu.busy),
        ]
        for name, text, read in kinds:
            known = [((self.host, gpu.number, gpu.name), value) for gpu in gpus if (value := read(gpu)) is not None]
            yield _gauge(name, text, ("host", "gpu", "name"), known)


def _scans(seen: Snapshot) -> Iterator[Metric]:
    states = dict.fromkeys((*SCAN_STATES, *seen.scans))
    yield _gauge("auditor_scans", "Scans.", ("state",), [((state,), seen.scans.get(state, 0)) for state in states])


def _parts(seen: Snapshot) -> Iterator[Metric]:
    """Gauges, for the day moves on; a mean is the one divided by the other."""
    of = f"of the audits done within {RECENT_HOURS} hours: an attack, the rest of them, or the whole"
    seconds = [((part.part,), part.seconds) for part in seen.parts]
    yield _gauge("auditor_audit_seconds", f"Seconds that a part took in all, {of}.", ("part",), seconds)
    numbers = [((part.part,), float(part.number)) for part in seen.parts]
    yield _gauge("auditor_audit_parts", f"How often a part was measured, {of}.", ("part",), numbers)


def _gauge(name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric([clean_line(label) for label in given], value)
    return family


def make_registry(engine: Engine | None, broker: BrokerMetrics | None) -> CollectorRegistry:
    """All of it; without ``engine`` no more than this machine's GPUs."""
    registry = CollectorRegistry()
    collectors = [DatabaseMetrics(engine) if engine is not None else None, broker, GpuMetrics()]
    for collector in collectors:
        if collector is not None:
            registry.register(collector)
    return registry


def as_text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
