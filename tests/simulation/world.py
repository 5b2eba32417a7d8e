"""What is around the project's code: processes, threads, the broker and the clocks, all in one scheduler's hand.

A task is a greenlet that runs the project's code. It pauses before each transaction and before each part of a
measurement, and goes on when the schedule says so. Killing a process throws an error into its tasks that lets no
further transaction through, so that what the code does on its way out has no effect, as after SIGKILL.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from greenlet import greenlet
from sqlalchemy.exc import OperationalError

from auditor.db.leases import Leases, Unsent
from auditor.db.retry import UNAVAILABLE
from auditor.db.trainings import TrainingLeases
from auditor.errors import AuditorError, ConflictError, EnvironmentUnusableError
from auditor.jobs.heartbeat import Heartbeat
from auditor.jobs.queue import send_queued
from auditor.jobs.reaper import Reaper
from auditor.records import AuditRecord, JobContext, Measurement, ZooEntry
from tests.simulation.checks import RECORDS, RESULT, Key, ViolationError
from tests.simulation.database import START, WRITING, Call, Database, Outcome
from tests.simulation.model import LEASE, Model
from workers.options import Options
from workers.process import Process

TICK = LEASE / 2
"""The time between two checks of a reaper, which is the longest that reapers allow."""
PARTS = 2
"""The parts of a measurement; its progress is saved after each."""
OPTIONS = {
    queue: Options(queue=queue, gpus=(), processes=1, threads=1, max_jobs=100, grace=1.0, trust_code=False)
    for queue in ("cpu", "gpu")
}


class KilledError(BaseException):
    """The process of this task is gone."""


@dataclass(eq=False)
class Host:
    """A process: a worker's, a reaper's or a client's. ``skew``: what its wall clock is ahead of the true time."""

    number: int
    name: str
    skew: float = 0.0
    frozen: bool = False
    dead: bool = False
    worker: Process | None = None
    reaper: Reaper | None = None

    @property
    def queue(self) -> str:
        assert self.worker is not None
        return self.worker.heartbeat.queue


@dataclass(eq=False)
class Task:
    """A thread of a process. ``lock``: it waits for this lock; ``wake``: it sleeps until then.

    ``next``: the transaction before which it has paused, or paused last. ``alone``: no other task has run meanwhile.
    ``claimed``: the job that it has claimed.
    """

    host: Host
    name: str
    run: Callable[[], None]
    lock: "Lock | None" = None
    wake: float = 0.0
    message: "Message | None" = None
    alone: bool = True
    next: str | None = None
    claimed: Key | None = None
    greenlet: Any = None


@dataclass(frozen=True)
class Message:
    """A message of the broker: a job's key."""

    key: Key


@dataclass
class Broker:
    """The broker: the messages of each queue that no worker has taken."""

    world: "World"
    messages: dict[str, list[Message]] = field(default_factory=lambda: {"cpu": [], "gpu": []})
    away: bool = False

    def send(self, jobs: Sequence[Unsent], queue: str) -> None:
        self._answer()
        self.world.check_resent(jobs, queue)
        for job in jobs:
            self.messages[queue].append(Message((job.kind, job.job_id)))

    def count_waiting(self, queue: str) -> int:
        self._answer()
        return len(self.messages[queue])

    def _answer(self) -> None:
        if self.away:
            raise EnvironmentUnusableError("the broker does not answer")


class Lock:
    """In place of a thread's lock: a task that has to wait pauses."""

    def __init__(self, world: "World") -> None:
        self.world, self.held = world, False

    def __enter__(self) -> None:
        task = self.world.task
        while self.held and task is not None:
            task.lock = self
            self.world.pause()
        if task is not None:
            task.lock = None
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


class World:
    """One interleaving.

    Args:
        workers: the queue of each worker process.
        patience: for how many seconds the workers retry while the database is away.
        reports: whether heartbeats also write the table of workers, on which no queued job depends.
        keys: on how many kinds of machine the workers are; progress that was saved on another kind is of no use.
    """

    def __init__(
        self, database: Database, model: Model, *, workers: Sequence[str], reapers: int, patience: float, keys: int,
        lease_of_reapers: float, reports: bool,
    ) -> None:  # fmt: skip
        self.database, self.model = database, model
        self.queues = sorted(set(workers))
        self.reports = reports
        self.clock = 0.0
        self.patience, self.keys = patience, keys
        self.scheduler = greenlet.getcurrent()
        self.tasks: list[Task] = []
        self.task: Task | None = None
        self.to_end = False
        self.hosts: list[Host] = []
        self.broker = Broker(self)
        self.database_away = self.lose_reply = self.reply_was_lost = False
        self.replies: dict[int, Any] = {}
        self.violation: ViolationError | None = None
        self.trace: list[Any] | None = None
        database.before, database.after, database.now = self._before, self._after, self.wall_clock
        model.clock = lambda: self.clock
        self.workers = [self._start_worker(queue) for queue in workers]
        self.reapers = [self._start_reaper(lease_of_reapers) for _ in range(reapers)]
        self.client = self._host("client")

    def wall_clock(self) -> Any:
        skew = self.task.host.skew if self.task is not None else 0.0
        return START + timedelta(seconds=self.clock + skew)

    # Tasks.

    def start(
        self, host: Host, name: str, run: Callable[[], None], message: Message | None = None, *, to_end: bool = False
    ) -> Task:
        """Start a task, which pauses at its first transaction, or goes on as in :meth:`step`."""
        task = Task(host, name, run, message=message)
        task.greenlet = greenlet(functools.partial(self._guard, task))
        self.tasks.append(task)
        self.step(task, to_end=to_end)
        return task

    def step(self, task: Task, *, to_end: bool = False) -> None:
        """Let a task go on until it pauses again or ends; with ``to_end`` it pauses only where it has to wait."""
        for other in self.tasks:
            if other is not task:
                other.alone = False
        self.task, self.to_end = task, to_end
        self.model.process = task.host.number
        task.greenlet.switch()
        self._settle(task)

    def throw(self, task: Task, error: BaseException) -> None:
        """Raise an error where a task has paused."""
        self.task, self.to_end = task, False
        task.greenlet.throw(error)
        self._settle(task)

    def finish(self, task: Task) -> None:
        """Let a task go on until it ends, sleeps or waits for a lock."""
        while not task.greenlet.dead and self.is_ready(task):
            self.step(task, to_end=True)

    def is_ready(self, task: Task) -> bool:
        waits = task.lock is not None and task.lock.held
        return not (waits or task.host.frozen or task.wake > self.clock)

    def pause(self) -> None:
        """Called by a task: let the scheduler decide."""
        task = self.task
        if task is None:
            return
        if task.host.dead:
            raise KilledError
        if not (self.to_end and self.is_ready(task)):
            self.scheduler.switch()

    def sleep(self, seconds: float) -> None:
        assert self.task is not None
        self.task.wake = self.clock + seconds
        self.pause()

    def _settle(self, task: Task) -> None:
        self.task = None
        if task.greenlet.dead:
            self.tasks.remove(task)
        if self.violation is not None:
            raise self.violation

    def _guard(self, task: Task) -> None:
        try:
            task.run()
        except (KilledError, SystemExit, EnvironmentUnusableError, ConflictError, *UNAVAILABLE):
            pass  # as in the real processes, which log it
        except ViolationError as error:
            self.violation = self.violation or error
        except Exception as error:
            self.violation = ViolationError(f"{task.name} raised {error!r}")

    # Transactions.

    def _before(self, name: str) -> None:
        if self.task is not None:
            self.task.next = name
        self.pause()
        if self.task is not None and self.task.host.dead:
            raise KilledError
        if self.database_away:
            raise OperationalError("", {}, Exception("the database is away"))
        self._view = self.database.view

    def _after(self, call: Call, outcome: Outcome) -> None:
        if self.trace is not None:
            name = self.task.name if self.task is not None else ""
            self.trace.append((name, call, outcome.result, outcome.error, self.database.rows))
        try:
            self.model.check(call, outcome, self._view, self.database.view)
        except ViolationError as error:
            self.violation = self.violation or error
            raise
        if self.lose_reply and call.name in WRITING:
            self.lose_reply, self.reply_was_lost = False, True
            raise OperationalError("", {}, Exception("the connection was lost during the commit"))
        if self.task is not None and call.name in ("renew", "claim"):
            self.replies[self.task.host.number] = outcome.result
        if self.task is not None and call.name == "claim" and outcome.result is not None:
            self.task.claimed = (call.subject, call.arguments[0])

    # Processes.

    def _host(self, name: str) -> Host:
        host = Host(len(self.hosts), f"{name} {len(self.hosts)}")
        self.hosts.append(host)
        return host

    def _start_worker(self, queue: str) -> Host:
        host = self._host("worker")
        heartbeat = Heartbeat(self.database.engine, queue=queue, device="cpu", lease=LEASE, slot=host.number + 1)
        heartbeat._lock = Lock(self)  # type: ignore[assignment]
        host.worker = Process(OPTIONS[queue], heartbeat, self.database.engine, self.patience)
        host.worker.make_child = functools.partial(_make_child, self, host)  # type: ignore[assignment]
        return host

    def _start_reaper(self, lease: float) -> Host:
        host = self._host("reaper")
        host.reaper = Reaper(self.database.engine, lease, self.broker, self.queues, lambda: self.clock)
        return host

    def job_task(self, host: Host) -> Task | None:
        return next((task for task in self.tasks if task.host is host and task.message is not None), None)

    def deliver(self, host: Host, message: Message) -> None:
        """A worker takes a message; it acknowledges the message when its task has ended."""
        assert host.worker is not None
        kind, job_id = message.key
        run = host.worker.run_audit if kind == "audit" else host.worker.run_training
        self.start(host, f"{host.name}, {kind} {job_id}", functools.partial(run, job_id), message)

    def beat(self, host: Host, *, to_end: bool = False) -> None:
        assert host.worker is not None
        self.start(host, f"heartbeat of {host.name}", host.worker.heartbeat.beat, to_end=to_end)

    def check_processes(self, host: Host, *, to_end: bool = False) -> None:
        assert host.reaper is not None
        self.start(host, f"{host.name}, processes", host.reaper.check_processes, to_end=to_end)

    def check_messages(self, host: Host, *, to_end: bool = False) -> None:
        assert host.reaper is not None
        self.start(host, f"{host.name}, messages", host.reaper.check_messages, to_end=to_end)

    def end_worker(self, host: Host, *, politely: bool, redeliver: bool) -> None:
        """A worker's process ends, by SIGTERM or SIGKILL, and another one takes its place."""
        task = self.job_task(host)
        message = task.message if task is not None else None
        if politely and task is not None:
            was_leaving = task.next in ("give_back", "cancelled")  # a signal can interrupt that, too
            self.throw(task, SystemExit())
            if not task.greenlet.dead:
                self.finish(task)
            if not was_leaving:
                self._check_given_back(host, task)
        host.dead = True
        for other in [one for one in self.tasks if one.host is host]:
            self.throw(other, KilledError())
        self.workers[self.workers.index(host)] = self._start_worker(host.queue)
        if redeliver and message is not None:
            self.broker.messages[host.queue].append(message)

    def _check_given_back(self, host: Host, task: Task) -> None:
        """A process that ends on a signal gives the job of this task back, unless it cannot reach the database."""
        job = self.model.jobs.get(task.claimed) if task.claimed is not None else None
        held = job is not None and job.state == "running" and job.owner == host.number
        if task.greenlet.dead and not self.database_away and held and not self.reply_was_lost:
            raise ViolationError(f"{host.name} ended on a signal, and {task.claimed} still runs")

    def check_told(self, host: Host) -> None:
        """A process whose last heartbeat found that its job is lost or cancelled does not work on."""
        reply = self.replies.get(host.number)
        if reply in ("lost", "cancelling"):
            raise ViolationError(f"{host.name} works on, although its heartbeat found that its job is {reply}")

    def submit(self, keys: Sequence[Key], queue: str) -> None:
        """A client sends jobs that it has stored or put back."""
        for kind, leases in (("audit", Leases), ("training", TrainingLeases)):
            jobs = [Unsent(job_id, 9.0, one) for one, job_id in keys if one == kind]  # type: ignore[arg-type]
            if jobs:
                run = functools.partial(send_queued, leases(self.database.engine), jobs, queue)
                self.start(self.client, f"client sends {jobs}", run)

    def elapse(self) -> None:
        """Half a lease passes, in which all heartbeats and reapers that are not frozen run."""
        self.clock += TICK
        for host in (*self.workers, *self.reapers):
            if host.frozen:
                continue
            for task in [one for one in self.tasks if one.host is host and one.message is None]:
                self.finish(task)
            if host.worker is not None:
                self.beat(host, to_end=True)
                continue
            for check in (self.check_processes, self.check_messages):
                check(host, to_end=True)

    def check_resent(self, jobs: Sequence[Unsent], queue: str) -> None:
        """A reaper that nobody disturbed sends no more messages than are missing, and none of them twice."""
        task = self.task
        if task is None or task.host.reaper is None or not task.alone:
            return
        missing = self.model.count_queued(queue) - len(self.broker.messages[queue])
        keys = [(job.kind, job.job_id) for job in jobs]
        waiting = [key for key in set(keys) if self.model.jobs[key].view.state == "queued"]
        if len(keys) > missing or sorted(waiting) != sorted(keys):
            self.violation = ViolationError(f"{task.name} sends {keys}; {missing} messages are missing in {queue}")
            raise self.violation


def _make_child(world: World, host: Host, task: Any, seconds: float, memory: int | None) -> Callable[..., Any]:  # noqa: ARG001
    return functools.partial(_measure if task.__name__ == "measure_audit" else _adapt, world, host)


def _measure(
    world: World, host: Host, source: Any, entry: ZooEntry, request: Measurement, context: JobContext  # noqa: ARG001
) -> AuditRecord | None:  # fmt: skip
    """In place of a child process: measures a model in parts, and saves its progress after each."""
    name = entry.model.partition(":")[2]
    record = RECORDS[name]
    if not context.needs_measuring(record.identity):
        return None
    key = f"machine {host.number % world.keys}"
    saved = context.load(key)
    done = _read_progress(saved, name, key) if saved else 0
    while done < PARTS:
        world.pause()
        context.stopped()
        if name == "bad":
            raise AuditorError("this model cannot be measured")
        world.check_told(host)
        done += 1
        context.progress("attack", done, PARTS)
        context.save(key, f"{name} {key} {done}".encode())
    world.pause()
    context.stopped()
    return record


def _read_progress(saved: bytes, name: str, key: str) -> int:
    text, _, done = saved.decode().rpartition(" ")
    if text != f"{name} {key}" or not 1 <= int(done) <= PARTS:
        raise ViolationError(f"{name} on {key} loaded the progress {saved!r}")
    return int(done)


def _adapt(world: World, host: Host, __: Any, ___: Any, ____: Any, context: JobContext) -> dict[str, Any]:
    for done in range(PARTS):
        world.pause()
        context.stopped()
        world.check_told(host)
        context.progress("tuning", done + 1, PARTS)
    return RESULT


def fake_time(world: Callable[[], World | None]) -> Any:
    """In place of the module ``time`` where the project sleeps and measures durations."""

    def monotonic() -> float:
        found = world()
        return found.clock if found is not None else 0.0

    def sleep(seconds: float) -> None:
        found = world()
        assert found is not None
        found.sleep(seconds)

    return SimpleNamespace(monotonic=monotonic, sleep=sleep)
