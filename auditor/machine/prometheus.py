"""Prometheus metrics, read from the database at each scrape: no process keeps counters that could be lost."""

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
from auditor.records import LOCAL_QUEUE
from auditor.text.printable import clean_line

logger = logging.getLogger(__name__)

COUNT_ALL_SECONDS = 60.0
"""Seconds between two counts of all audits; queued and running audits are counted at each scrape."""
ENDED = ("done", "failed", "cancelled")
SCAN_STATES = ("running", "done", "interrupted")


@dataclass(eq=False)
class DatabaseMetrics:
    """A collector of prometheus_client: metrics of the database, and ``auditor_up 0`` while it does not answer."""

    engine: Engine
    queues: Sequence[str] = ("cpu", "gpu")
    clock: Callable[[], float] = time.monotonic
    _counted: tuple[float, list[EndedCount]] | None = None

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        try:
            snapshot = take_snapshot(self.engine)
            metrics = [
                *self._audits(snapshot), *_scans(snapshot), *self._workers(snapshot), *_parts(snapshot)
            ]  # fmt: skip
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: %s", cause_of(error))
            metrics = []
        yield _gauge("auditor_up", "Whether the database answers.", (), [((), float(bool(metrics)))])
        text = "Seconds that the queries of the database took."
        yield _gauge("auditor_scrape_seconds", text, (), [((), time.perf_counter() - began)])
        yield from metrics

    def _audits(self, snapshot: Snapshot) -> Iterator[Metric]:
        counted = self._count_all()
        numbers = {(one.state, one.queue): one.number for one in counted if one.state not in ("queued", "running")}
        numbers |= {(one.state, one.queue): one.number for one in snapshot.unfinished}
        queues = dict.fromkeys((*self.queues, LOCAL_QUEUE, *(queue for _, queue in numbers)))
        every = [((state, queue), numbers.get((state, queue), 0)) for queue in queues for state in STATES]
        yield _gauge("auditor_audits", "Audits in the database.", ("state", "queue"), every)
        recent = {(one.state, one.queue): one.recent for one in counted}
        # Not a counter of ends: all workers would wait for its row. The number of failed audits falls with each retry.
        hour = [((state, queue), recent.get((state, queue), 0)) for queue in queues for state in ENDED]
        text = "Audits that ended within the last hour and were not tried again since."
        yield _gauge("auditor_audits_ended_within_hour", text, ("state", "queue"), hour)
        waiting = [one for one in (*snapshot.unfinished, *snapshot.trainings) if one.state == "queued"]
        depth = [((queue,), sum(one.number for one in waiting if one.queue == queue)) for queue in self.queues]
        yield _gauge("auditor_queue_depth", "Queued jobs in the database.", ("queue",), depth)
        oldest = [
            ((queue,), max((one.oldest for one in waiting if one.queue == queue), default=0)) for queue in self.queues
        ]
        waits = "Seconds that the oldest queued job has waited."
        trained = {(one.state, one.queue): one.number for one in snapshot.trainings}
        trainings = [
            ((state, name), trained.get((state, name), 0)) for name in queues for state in ("queued", "running")
        ]
        unended = "Queued and running boosts and adaptations."
        yield _gauge("auditor_trainings_unfinished", unended, ("state", "queue"), trainings)
        yield _gauge("auditor_oldest_queued_seconds", waits, ("queue",), oldest)
        expired = CounterMetricFamily("auditor_leases_expired", "Expired leases: lost processes.")
        expired.add_metric((), snapshot.leases_expired)
        yield expired

    def _count_all(self) -> list[EndedCount]:
        if self._counted is None or self.clock() - self._counted[0] >= COUNT_ALL_SECONDS:
            self._counted = self.clock(), count_all(self.engine)
        return self._counted[1]

    def _workers(self, snapshot: Snapshot) -> Iterator[Metric]:
        queues = dict.fromkeys((*self.queues, *(one.queue for one in snapshot.workers)))
        alive = [((queue,), sum(one.queue == queue for one in snapshot.workers)) for queue in queues]
        yield _gauge("auditor_workers", "Processes that can run audits.", ("queue",), alive)
        silent = [((one.name, one.queue), one.silent) for one in snapshot.workers]
        text = "Seconds since the last heartbeat of a process, which should come every two seconds."
        yield _gauge("auditor_worker_silent_seconds", text, ("worker", "queue"), silent)


@dataclass(eq=False)
class BrokerMetrics:
    """Metrics of the broker; ``count`` is :func:`auditor.jobs.queue.count_waiting`."""

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
            messages = "Messages of the broker that no worker has taken."
            yield _gauge("auditor_broker_messages", messages, ("queue",), waiting)


@dataclass(eq=False)
class GpuMetrics:
    """Metrics of this machine's GPUs; none without a GPU."""

    find: Callable[[], list[Gpu]] = find_gpus
    host: str = field(default_factory=platform.node)

    def collect(self) -> Iterator[Metric]:
        gpus = self.find()
        if not gpus:
            return
        kinds: list[tuple[str, str, Callable[[Gpu], float | None]]] = [
            ("auditor_gpu_memory_used_bytes", "Used memory of a GPU, by all processes.", lambda gpu: gpu.used),
            ("auditor_gpu_memory_bytes", "Memory of a GPU.", lambda gpu: gpu.total),
            ("auditor_gpu_busy_ratio", "Share of time in which a GPU was busy.", lambda gpu: gpu.busy),
        ]
        for name, text, read in kinds:
            known = [((self.host, gpu.number, gpu.name), value) for gpu in gpus if (value := read(gpu)) is not None]
            yield _gauge(name, text, ("host", "gpu", "name"), known)


def _scans(snapshot: Snapshot) -> Iterator[Metric]:
    states = dict.fromkeys((*SCAN_STATES, *snapshot.scans))
    yield _gauge("auditor_scans", "Scans.", ("state",), [((state,), snapshot.scans.get(state, 0)) for state in states])


def _parts(snapshot: Snapshot) -> Iterator[Metric]:
    """Sums over the last day, so they are gauges; the seconds divided by the number are the mean."""
    audits = f"audits done within {RECENT_HOURS} hours: an attack, the rest of the audit, or all of it"
    seconds = [((part.part,), part.seconds) for part in snapshot.parts]
    yield _gauge("auditor_audit_seconds", f"Total seconds of a part of {audits}.", ("part",), seconds)
    numbers = [((part.part,), float(part.number)) for part in snapshot.parts]
    yield _gauge("auditor_audit_parts", f"Number of measurements of a part of {audits}.", ("part",), numbers)


def _gauge(name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric([clean_line(label) for label in given], value)
    return family


def make_registry(engine: Engine | None, broker: BrokerMetrics | None) -> CollectorRegistry:
    """A registry of all collectors; without ``engine``, of this machine's GPUs."""
    registry = CollectorRegistry()
    collectors = [DatabaseMetrics(engine) if engine is not None else None, broker, GpuMetrics()]
    for collector in collectors:
        if collector is not None:
            registry.register(collector)
    return registry


def as_text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
