"""Schedules: draws the events of one interleaving by a seed, has them happen, and lets everything come to rest.

An event is a name and a number that chooses among what is there. An event that is not possible has no effect, so any
part of a schedule is a schedule, which shrinking needs.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import auditor.db.scans
from auditor.db.store import Store
from auditor.db.trainings import Trainings
from auditor.records import AuditRequest, Measurement
from auditor.records.adaptations import AdaptRequest
from auditor.scans.request import ScanRequest
from auditor.trainings.adapt import AdaptJobRequest
from tests.factories.records import entry
from tests.simulation.checks import Examiner, Key, ViolationError
from tests.simulation.database import START, Database, Rows, current, routes
from tests.simulation.model import Model
from tests.simulation.world import TICK, World, fake_time

MOST_ROUNDS = 50
REQUEST = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=3), seconds=9.0)
ADAPTATION = AdaptJobRequest(adapt=AdaptRequest(), seconds=9.0)
TEMPLATES: dict[str, tuple[list[list[str]], int]] = {
    "one audit": ([["m0"]], 0),
    "two audits": ([["m0", "m1"]], 0),
    "the same model twice": ([["m0"], ["m0"]], 0),
    "a model that fails": ([["m0", "bad"]], 0),
    "an adaptation": ([], 1),
    "an audit and an adaptation": ([["m0"]], 1),
}
"""What is stored when a schedule begins: the models of each scan, and the number of adaptations."""
WEIGHTS = {
    "step": 34, "finish": 3, "deliver": 16, "beat": 6, "check processes": 3, "check messages": 3, "elapse": 8,
    "silence": 6, "kill": 5, "crash": 6, "take over": 6, "stop": 3, "freeze": 5, "thaw": 3,
    "lose a message": 2, "repeat a message": 3, "empty the broker": 1, "broker away": 1, "broker back": 2,
    "database away": 1, "database back": 3, "lose a reply": 2, "change a clock": 2, "cancel": 5, "retry": 5,
    "cancel and stop": 2, "renew late": 3,
}  # fmt: skip
"""How often each event is drawn."""
_NAMES, _TOTALS = tuple(WEIGHTS), tuple(itertools.accumulate(WEIGHTS.values()))

Event = tuple[str, int]


@dataclass(frozen=True)
class Schedule:
    """One interleaving: what is stored, the environment, and the events in their order."""

    template: str
    workers: tuple[str, ...]
    reapers: int
    patience: float
    keys: int
    lease_of_reapers: float
    reports: bool
    sent: bool
    events: tuple[Event, ...]


def draw(seed: str) -> Schedule:
    """Draw a schedule; the same seed gives the same schedule."""
    source = random.Random(seed)
    names = source.choices(_NAMES, cum_weights=_TOTALS, k=source.randint(4, 18))
    return Schedule(
        template=source.choice(tuple(TEMPLATES)),
        workers=source.choice((("cpu",), ("cpu", "cpu"), ("cpu", "cpu"), ("cpu", "gpu"))),
        reapers=source.choice((1, 1, 2)),
        patience=source.choice((0.0, 0.0, 20.0)),
        keys=source.choice((1, 1, 2)),
        lease_of_reapers=source.choice((60.0, 60.0, 90.0)),
        reports=source.random() < 0.02,
        sent=source.random() < 0.8,
        events=tuple((name, source.getrandbits(16)) for name in names),
    )


_simulations: list["Simulation"] = []


def _world() -> World | None:
    return _simulations[-1].world if _simulations else None


def _patches() -> list[Any]:
    """What stands in for clocks, the broker's client, sources of models, and the store's transactions."""
    time, stores = fake_time(_world), routes()
    report = next(one.new for one in stores if one.attribute == "report_worker")

    def report_worker(*given: Any) -> None:
        world = _world()
        if world is not None and world.reports:
            report(*given)

    def send(*given: Any) -> None:
        world = _world()
        assert world is not None
        world.broker.send(*given)

    names = ("tenacity.time", "tenacity.nap.time", "auditor.trainings.job.time", "auditor.jobs.audit.time")
    return [
        *stores,
        *(mock.patch(name, time) for name in names),
        mock.patch("auditor.jobs.heartbeat.report_worker", report_worker),
        mock.patch("auditor.jobs.queue.send", send),
        mock.patch("workers.process.find_source", return_value=None),
    ]


class Simulation:
    """Runs schedules on one database; ``remember`` as in :class:`Database`."""

    def __init__(self, *, remember: bool = True) -> None:
        self.database = Database(Examiner(), remember=remember)
        self.world: World | None = None
        self._rows: dict[str, Rows] = {}
        self._scans: dict[str, dict[Key, int | None]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator["Simulation"]:
        """The project's transactions, clocks and pauses are in the hand of this simulation while the context lasts."""
        with contextlib.ExitStack() as stack:
            if not _simulations:
                for patch in _patches():
                    stack.enter_context(patch)
            _simulations.append(self)
            stack.callback(_simulations.pop)
            stack.enter_context(current(self.database))
            yield self

    def run(self, schedule: Schedule, trace: list[Any] | None = None) -> ViolationError | None:
        """Run a schedule to its end; returns what was wrong. ``trace`` gets each transaction with its result."""
        world = self._begin(schedule)
        world.trace = trace
        try:
            keys = list(world.model.jobs)
            world.submit(keys, "cpu")
            for task in list(world.tasks) if schedule.sent else ():
                world.finish(task)
            for name, number in schedule.events:
                EVENTS[name](world, number)
            come_to_rest(world)
        except ViolationError as error:
            return error
        finally:
            abandon(world)
            self.world = None
        return None

    def _begin(self, schedule: Schedule) -> World:
        database = self.database
        if database.is_full:
            database.forget_contents()
            database.examine = Examiner()
        template = schedule.template
        for name in TEMPLATES if not self._rows else ():
            self._make(name)
        database.adopt(self._rows[template])
        model = Model(database.view, self._scans[template], lambda: 0.0)
        self.world = World(
            database, model, workers=schedule.workers, reapers=schedule.reapers, patience=schedule.patience,
            keys=schedule.keys, lease_of_reapers=schedule.lease_of_reapers, reports=schedule.reports,
        )  # fmt: skip
        return self.world

    def _make(self, template: str) -> None:
        """Store the scans and adaptations of a template, by the project's own code."""
        database = self.database
        database.now = lambda: START
        scans, adaptations = TEMPLATES[template]
        found: dict[Key, int | None] = {}

        def store() -> None:
            for models in scans:
                made = Store(database.engine).create_scan(
                    "demo", REQUEST.to_json(), [entry(name) for name in models], queue="cpu"
                )
                found.update({("audit", job.audit_id): made[0] for job in made[1]})
            for _ in range(adaptations):
                job = Trainings(database.engine).create("adapt", "small_resnet", None, ADAPTATION.to_json(), "cpu")
                found["training", job.training_id] = None

        self._rows[template] = database.run_directly(store)
        self._scans[template] = found


# The events.


def _among(options: list[Any], number: int) -> Any:
    return options[number % len(options)] if options else None


def _step(world: World, number: int) -> None:
    task = _among([one for one in world.tasks if world.is_ready(one)], number)
    if task is not None:
        world.step(task)


def _finish(world: World, number: int) -> None:
    task = _among([one for one in world.tasks if world.is_ready(one)], number)
    if task is not None:
        world.finish(task)


def _idle(world: World) -> list[Any]:
    return [host for host in world.workers if not host.frozen and world.job_task(host) is None]


def _deliver(world: World, number: int) -> None:
    host = _among([one for one in _idle(world) if world.broker.messages[one.queue]], number)
    if host is not None and not world.broker.away:
        messages = world.broker.messages[host.queue]
        world.deliver(host, messages.pop((number >> 4) % len(messages)))
        for _ in range((number >> 8) % 8):
            task = world.job_task(host)
            if task is not None and world.is_ready(task):
                world.step(task)


def _alive(hosts: list[Any]) -> list[Any]:
    return [host for host in hosts if not host.frozen]


def _beat(world: World, number: int) -> None:
    host = _among(_alive(world.workers), number)
    if host is not None and not any(task.host is host and task.message is None for task in world.tasks):
        world.beat(host)


def _check(world: World, number: int, start: str) -> None:
    host = _among(_alive(world.reapers), number)
    part = start.rpartition("_")[2]
    if host is not None and not any(task.host is host and task.name.endswith(part) for task in world.tasks):
        getattr(world, start)(host)


def _elapse(world: World, number: int, *, ticks: int) -> None:
    for _ in range(ticks + number % 2):
        world.elapse()


def _end(world: World, number: int, *, politely: bool) -> None:
    host = _among(_likely(world, _alive(world.workers) if politely else world.workers, number), number)
    if host is not None:
        world.end_worker(host, politely=politely, redeliver=bool(number & 256))


def _crash(world: World, number: int) -> None:
    """A job's process is killed, nobody notices until the lease ends, and another process takes the job."""
    host = _among([one for one in world.workers if world.job_task(one) is not None], number)
    if host is not None:
        world.end_worker(host, politely=False, redeliver=False)
        _elapse(world, number, ticks=5)
        _deliver(world, number)


def _take_over(world: World, number: int) -> None:
    """A job's process is frozen, another one takes the job after the lease has ended, and the first one is thawed."""
    host = _among([one for one in _alive(world.workers) if world.job_task(one) is not None], number)
    if host is not None:
        host.frozen = True
        _elapse(world, number, ticks=5)
        _deliver(world, number)
        host.frozen = False
        if number & 2:
            world.end_worker(host, politely=True, redeliver=bool(number & 4))


def _cancel_and_stop(world: World, number: int) -> None:
    """A job is cancelled, and its process ends on a signal before its next heartbeat."""
    host = _among([one for one in _alive(world.workers) if world.job_task(one) is not None], number)
    if host is not None:
        _cancel(world, number)
        for task in [one for one in world.tasks if one.host is world.client]:
            world.finish(task)
        world.end_worker(host, politely=True, redeliver=bool(number & 4))


def _renew_late(world: World, number: int) -> None:
    """A reaper has found that a lease is over; before it expires the lease, the process is thawed and renews it."""
    host = _among([one for one in _alive(world.workers) if world.job_task(one) is not None], number)
    reaper = _among(_alive(world.reapers), number)
    if host is None or reaper is None:
        return
    host.frozen = True
    _elapse(world, 0, ticks=2)
    world.clock += TICK
    _check(world, number, "check_processes")
    check = next((one for one in world.tasks if one.host is reaper and one.name.endswith("processes")), None)
    while check is not None and not check.greenlet.dead and world.is_ready(check) and check.next != "expire":
        world.step(check)
    host.frozen = False
    if number & 2:
        _beat(world, world.workers.index(host))
        for task in [one for one in world.tasks if one.host is host and one.message is None]:
            world.finish(task)


def _likely(world: World, hosts: list[Any], number: int) -> list[Any]:
    """Three times in four the hosts that have a job, if any."""
    busy = [host for host in hosts if world.job_task(host) is not None]
    return busy if busy and number & 0xC00 else hosts


def _freeze(world: World, number: int) -> None:
    _among(_likely(world, [*world.workers, *world.reapers], number), number).frozen = True


def _thaw(world: World, number: int) -> None:
    host = _among([one for one in (*world.workers, *world.reapers) if one.frozen], number)
    if host is not None:
        host.frozen = False


def _with_message(world: World, number: int) -> list[Any]:
    return _among([messages for messages in world.broker.messages.values() if messages], number) or []


def _lose_message(world: World, number: int) -> None:
    messages = _with_message(world, number)
    if messages:
        messages.pop((number >> 4) % len(messages))


def _repeat_message(world: World, number: int) -> None:
    """The broker delivers a message again: one that waits, or one that a worker has taken."""
    if number & 256:
        task = _among([one for one in world.tasks if one.message is not None], number)
        if task is not None:
            world.broker.messages[task.host.queue].append(task.message)
        return
    messages = _with_message(world, number)
    if messages:
        messages.append(messages[(number >> 4) % len(messages)])


def _empty(world: World, _: int) -> None:
    for messages in world.broker.messages.values():
        messages.clear()


def _broker(world: World, *, away: bool) -> None:
    world.broker.away = away


def _database(world: World, *, away: bool) -> None:
    world.database_away = away


def _lose_reply(world: World, _: int) -> None:
    world.lose_reply = True


def _change_clock(world: World, number: int) -> None:
    _among(world.hosts, number).skew += 3607.0 if number & 256 else -3607.0


def _cancel(world: World, number: int) -> None:
    _ask(world, number, lambda scan, _: (lambda: auditor.db.scans.cancel_scan(world.database.engine, scan, "enough")),
         lambda job, _: (lambda: world_trainings(world).cancel(job, "enough")))  # fmt: skip


def _retry(world: World, number: int) -> None:
    def retry(scan: int, queue: str) -> Callable[[], None]:
        def run() -> None:
            jobs = auditor.db.scans.retry_scan(world.database.engine, scan, queue, None)
            send([("audit", job.audit_id) for job in jobs], queue)

        return run

    def resume(job: int, queue: str) -> Callable[[], None]:
        def run() -> None:
            world_trainings(world).resume(job, queue)
            send([("training", job)], queue)

        return run

    def send(keys: list[Key], queue: str) -> None:
        from auditor.db.leases import Leases, Unsent
        from auditor.db.trainings import TrainingLeases
        from auditor.jobs.queue import send_queued

        leases = (Leases if keys and keys[0][0] == "audit" else TrainingLeases)(world.database.engine)
        send_queued(leases, [Unsent(job_id, 9.0, kind) for kind, job_id in keys], queue)  # type: ignore[arg-type]

    _ask(world, number, retry, resume)


def world_trainings(world: World) -> Trainings:
    return Trainings(world.database.engine)


def _ask(world: World, number: int, of_scan: Callable[[int, str], Any], of_training: Callable[[int, str], Any]) -> None:
    """A client asks for something about a scan or a training."""
    subjects = sorted({("scan", job.scan) if job.scan else job.key for job in world.model.jobs.values()})
    subject = _among(subjects, number)
    if subject is not None:
        queue = world.workers[(number >> 4) % len(world.workers)].queue
        run = (of_scan if subject[0] == "scan" else of_training)(subject[1], queue)
        world.start(world.client, f"client, {subject[0]} {subject[1]}", run)


EVENTS: dict[str, Callable[[World, int], None]] = {
    "step": _step,
    "finish": _finish,
    "deliver": _deliver,
    "beat": _beat,
    "check processes": lambda world, number: _check(world, number, "check_processes"),
    "check messages": lambda world, number: _check(world, number, "check_messages"),
    "elapse": lambda world, number: _elapse(world, number, ticks=1),
    "silence": lambda world, number: _elapse(world, number, ticks=4),
    "kill": lambda world, number: _end(world, number, politely=False),
    "stop": lambda world, number: _end(world, number, politely=True),
    "crash": _crash,
    "take over": _take_over,
    "cancel and stop": _cancel_and_stop,
    "renew late": _renew_late,
    "freeze": _freeze,
    "thaw": _thaw,
    "lose a message": _lose_message,
    "repeat a message": _repeat_message,
    "empty the broker": _empty,
    "broker away": lambda world, _: _broker(world, away=True),
    "broker back": lambda world, _: _broker(world, away=False),
    "database away": lambda world, _: _database(world, away=True),
    "database back": lambda world, _: _database(world, away=False),
    "lose a reply": _lose_reply,
    "change a clock": _change_clock,
    "cancel": _cancel,
    "retry": _retry,
}


def come_to_rest(world: World) -> None:
    """All faults end; then every job must end, and no message be left.

    Raises:
        ViolationError: there is an unfinished job, or a message, after ``MOST_ROUNDS`` halves of a lease.
    """
    world.broker.away = world.database_away = world.lose_reply = False
    for host in world.hosts:
        host.frozen = False
    for _ in range(MOST_ROUNDS):
        for task in list(world.tasks):
            world.finish(task)
        for host in _idle(world):
            if world.broker.messages[host.queue]:
                world.deliver(host, world.broker.messages[host.queue].pop(0))
        if not world.tasks and not world.model.unfinished() and not any(world.broker.messages.values()):
            return
        world.elapse()
    left = [(job.key, job.view) for job in world.model.unfinished()]
    raise ViolationError(f"after {MOST_ROUNDS} halves of a lease there are {left}, {world.broker.messages}")


def abandon(world: World) -> None:
    """End all tasks, without an effect."""
    for host in world.hosts:
        host.dead = True
    for task in list(world.tasks):
        with contextlib.suppress(ViolationError):
            world.throw(task, _killed())


def _killed() -> BaseException:
    from tests.simulation.world import KilledError

    return KilledError()
