"""The reaper: what is lost is put back once, what lives is left alone, and messages are sent again with patience."""

import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from kombu import pools
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from auditor.config import settings
from auditor.db.ending import now
from auditor.db.leases import Leases, Unsent
from auditor.db.models import Scan, Worker
from auditor.db.scans import load_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.trainings import TrainingLeases, Trainings
from auditor.db.workers import WorkerStatus, list_workers, report_worker
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.jobs import queue as dispatch
from auditor.jobs.process_names import host_name
from auditor.jobs.reaper import Reaper, abandon_dead_scans
from tests.factories.records import REQUEST, entry
from tests.workers.team import Redis

LEASE = 60.0


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class Shelf:
    """A broker for the tests: what was sent lies there until the test takes it."""

    def __init__(self) -> None:
        self.messages: dict[str, list[int]] = {"cpu": [], "gpu": []}
        self.jobs: list[tuple[str, int]] = []
        self.error: Exception | None = None

    def send(self, jobs: Sequence[Unsent], queue: str) -> None:
        if self.error:
            raise self.error
        self.messages[queue] += [job.job_id for job in jobs]
        self.jobs += [(job.kind, job.job_id) for job in jobs]

    def count_waiting(self, queue: str) -> int:
        if self.error:
            raise self.error
        return len(self.messages[queue])


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def reaper(engine: Engine, clock: Clock, shelf: Shelf) -> Reaper:
    return Reaper(engine, LEASE, shelf, ("cpu", "gpu"), clock)


def look(reaper: Reaper, clock: Clock, seconds: float, between: Callable[[], object] = lambda: None) -> None:
    """Looks every 15 seconds for so long."""
    for _ in range(int(seconds / 15)):
        clock.at += 15
        between()
        reaper.check()


def scan(engine: Engine, jobs: int = 1, queue: str = "cpu", worker: str | None = None) -> tuple[int, list[int]]:
    entries = [entry(f"m{number}") for number in range(jobs)]
    scan_id, made = Store(engine).create_scan("demo", REQUEST | {"seconds": 9}, entries, queue=queue, worker=worker)
    return scan_id, [job.audit_id for job in made]


def states(engine: Engine, scan_id: int) -> list[str]:
    return [audit.state for audit in load_scan(engine, scan_id).audits]


@pytest.mark.long
def test_a_silent_job_is_put_back_after_its_lease_and_not_before(
    engine: Engine, clock: Clock, reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    scan_id, (silent, lively) = scan(engine, 2)
    for audit_id in (silent, lively):
        Store(engine).claim(audit_id, "host:1", LEASE)

    def beat() -> None:
        assert Leases(engine).renew(lively, 1, LEASE) == "active"

    reaper.check()
    look(reaper, clock, 45, beat)
    assert states(engine, scan_id) == ["running", "running"]
    with caplog.at_level(logging.WARNING):
        look(reaper, clock, 15, beat)
    assert states(engine, scan_id) == ["queued", "running"]
    assert [one.getMessage() for one in caplog.records] == [
        f"audit {silent}: its process host:1 is lost; new state: queued"
    ]
    look(reaper, clock, 600, beat)
    assert states(engine, scan_id) == ["queued", "running"]
    assert load_scan(engine, scan_id).audits[0].losses == 1


def test_a_job_claimed_again_has_the_whole_of_its_lease(engine: Engine, clock: Clock, reaper: Reaper) -> None:
    scan_id, (audit_id,) = scan(engine)
    store = Store(engine)
    store.claim(audit_id)
    reaper.check()
    look(reaper, clock, 45)
    Leases(engine).give_back(audit_id, 1)
    store.claim(audit_id)
    look(reaper, clock, 60)
    assert states(engine, scan_id) == ["running"]
    look(reaper, clock, 15)
    assert states(engine, scan_id) == ["queued"]


def test_a_wall_clock_far_off_costs_no_job(engine: Engine, clock: Clock, reaper: Reaper) -> None:
    """Leases written by a machine whose clock is years behind."""
    scan_id, (audit_id,) = scan(engine)
    Store(engine).claim(audit_id, "host:1", -1e8)
    reaper.check()
    for number in range(20):
        look(reaper, clock, 15, lambda number=number: Leases(engine).renew(audit_id, 1, -1e8 + number))
    assert states(engine, scan_id) == ["running"]


def test_a_reaper_that_was_frozen_blames_nobody(engine: Engine, clock: Clock, reaper: Reaper) -> None:
    scan_id, (audit_id,) = scan(engine)
    Store(engine).claim(audit_id)
    reaper.check()
    clock.at += 86_400
    reaper.check()
    look(reaper, clock, 45)
    assert states(engine, scan_id) == ["running"]
    look(reaper, clock, 15)
    assert states(engine, scan_id) == ["queued"]


def test_while_the_database_is_away_nobody_is_blamed(
    engine: Engine, clock: Clock, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id, (audit_id,) = scan(engine)
    here, _ = scan(engine, queue="here", worker="elsewhere:1")
    report_worker(engine, WorkerStatus(name="elsewhere:2", queue="cpu", device="cpu", started_at=now()))
    Store(engine).claim(audit_id)
    reaper.check()
    look(reaper, clock, 45)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    with monkeypatch.context() as patched:
        patched.setattr(reaper.leases["audit"], "running", away)
        with pytest.raises(OperationalError):
            look(reaper, clock, 15)
    look(reaper, clock, 60)
    assert (states(engine, scan_id), states(engine, here)) == (["running"], ["queued"])
    look(reaper, clock, 15)
    assert (states(engine, scan_id), states(engine, here)) == (["queued"], ["cancelled"])


def test_a_scan_whose_process_is_silent_is_ended(engine: Engine, clock: Clock, reaper: Reaper) -> None:
    silent, _ = scan(engine, 2, "here", "elsewhere:1")
    lively, (audit_id, _) = scan(engine, 2, "here", "elsewhere:2")
    nameless, _ = scan(engine, 1, "here")
    queued, _ = scan(engine, 1, "cpu")
    Store(engine).claim(audit_id)
    started = now()

    def beat() -> None:
        report_worker(engine, WorkerStatus(name="elsewhere:2", queue="here", device="cpu", started_at=started))

    reaper.check()
    look(reaper, clock, 45, beat)
    assert states(engine, silent) == ["queued", "queued"]
    look(reaper, clock, 15, beat)
    shown = load_scan(engine, silent)
    assert (shown.state, states(engine, silent)) == ("interrupted", ["cancelled", "cancelled"])
    assert {audit.reason for audit in shown.audits} == {"elsewhere:1 ended unexpectedly"}
    assert load_scan(engine, nameless).audits[0].reason == "its process ended unexpectedly"
    assert (states(engine, lively), states(engine, queued)) == (["running", "queued"], ["queued"])


def test_workers_that_are_silent_for_two_leases_are_forgotten(engine: Engine, clock: Clock, reaper: Reaper) -> None:
    for name in ("a:1", "b:1"):
        report_worker(engine, WorkerStatus(name=name, queue="cpu", device="cpu", started_at=now()))
    ahead = iter(range(1, 1000))

    def beat() -> None:
        with engine.begin() as connection:
            later = now() + timedelta(seconds=next(ahead))
            connection.execute(Worker.__table__.update().where(Worker.name == "b:1").values(seen_at=later))

    reaper.check()
    look(reaper, clock, 105, beat)
    assert [row.worker for row in list_workers(engine)] == ["a:1", "b:1"]
    look(reaper, clock, 15, beat)
    assert [row.worker for row in list_workers(engine)] == ["b:1"]


def silent(engine: Engine, seconds: float, worker: str | None = None) -> None:
    """Let scans have begun, or a process given its last sign, so long ago."""
    table, column = (Worker, "seen_at") if worker else (Scan, "started_at")
    change = update(table).values({column: now() - timedelta(seconds=seconds)})
    with engine.begin() as connection:
        connection.execute(change.where(Worker.name == worker) if worker else change)


@pytest.mark.parametrize(
    ("host", "dead", "began", "seen", "ended"),
    [
        (host_name(), True, 10, None, True),
        (host_name(), True, 100, 10, True),
        (host_name(), True, 0, 0, True),
        (host_name()[:-1] + "x", True, 1000, 1000, False),  # of another container with this host's name
        (host_name(), False, 1000, 1000, False),  # frozen, perhaps: that is for the leases to say
        ("elsewhere", True, 1000, 1000, False),
    ],
)
def test_scans_of_dead_processes_of_this_machine_are_ended_at_once(
    engine: Engine, host: str, dead: bool, began: float, seen: float | None, ended: bool
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    name = f"{host}:{process.pid if dead else os.getpid()}"
    scan_id, _ = scan(engine, 2, "here", name)
    queued, _ = scan(engine)
    silent(engine, began)
    names = [] if seen is None else [name, f"{name}/1"]
    for one in names:
        report_worker(engine, WorkerStatus(name=one, queue="here", device="cpu", started_at=now()))
        silent(engine, seen, one)
    abandon_dead_scans(engine)
    assert load_scan(engine, scan_id).state == ("interrupted" if ended else "running")
    assert [row.worker for row in list_workers(engine)] == ([] if ended else names)
    assert load_scan(engine, queued).state == "running"


def test_messages_are_sent_again_only_if_missing_at_three_looks(engine: Engine, reaper: Reaper, shelf: Shelf) -> None:
    _, ids = scan(engine, 5)
    Leases(engine).mark_sent(ids)
    for _ in range(2):
        reaper.check()
    assert shelf.messages["cpu"] == []
    shelf.messages["cpu"] = ids[:2]
    for _ in range(2):
        reaper.check()  # two of the five have come meanwhile: somebody is sending
    assert shelf.messages["cpu"] == ids[:2]
    reaper.check()
    assert sorted(shelf.messages["cpu"]) == sorted([*ids[:2], *ids[:3]])  # which three it is, nobody knows
    reaper.check()
    reaper.check()
    assert len(shelf.messages["cpu"]) == 5


@pytest.mark.parametrize(
    ("queued", "waiting", "sent"),
    [
        (5, [0, 0, 0], 5),
        (5, [0, 0, 3], 0),
        (5, [0, 3, 3], 0),
        (5, [0, 3, 3, 3], 2),
        (5, [3, 3, 0], 2),
        (5, [3, 2, 0], 2),
        (5, [3, 0, 2], 0),
        (5, [5, 5, 5], 0),
        (5, [9, 0, 0], 0),
        (5, [0, 0, 9], 0),
        (5, [5, 0, 0], 0),
        (5, [5, 0, 0, 0], 5),
        (5, [0, 5, 0, 0], 0),
        (0, [0, 0, 0, 0], 0),
        (5, [4, 4, 4, 4, 4], 1),  # at the third look; with the fourth it begins anew
    ],
)
def test_never_more_are_sent_again_than_are_missing(
    engine: Engine, reaper: Reaper, shelf: Shelf, queued: int, waiting: list[int], sent: int, monkeypatch: Any
) -> None:
    if queued:
        scan(engine, queued)
    numbers, total = iter(waiting), []
    monkeypatch.setattr(shelf, "count_waiting", lambda queue: next(numbers) if queue == "cpu" else 0)
    monkeypatch.setattr(shelf, "send", lambda jobs, _: total.extend(jobs))
    for _ in waiting:
        reaper.check()
    assert len(total) == sent


def test_what_others_are_sending_is_not_sent_again(engine: Engine, shelf: Shelf, monkeypatch: Any) -> None:
    """A client, and then a reaper, sends slowly, while three reapers look between any two messages."""
    reapers = [Reaper(engine, LEASE, shelf, ("cpu",)) for _ in range(3)]
    _, ids = scan(engine, 5)
    Leases(engine).mark_sent(ids)
    sending: list[str] = []

    def send(jobs: Sequence[Unsent], queue: str) -> None:
        sending.append(queue)
        for job in jobs:
            shelf.messages[queue].append(job.job_id)
            for reaper in reapers:
                reaper.check_messages()

    monkeypatch.setattr(shelf, "send", send)
    shelf.send([Unsent(audit_id, 9) for audit_id in ids], "cpu")
    assert (shelf.messages["cpu"], sending) == (ids, ["cpu"])
    shelf.messages["cpu"].clear()  # now they are lost
    for _ in range(2):
        for reaper in reapers:
            reaper.check_messages()
    reapers[0].check_messages()
    assert (sorted(shelf.messages["cpu"]), sending) == (ids, ["cpu", "cpu"])


def test_a_second_client_does_not_hide_that_one_is_sending(engine: Engine, reaper: Reaper, shelf: Shelf) -> None:
    """Between two looks the first client sends two messages; before the last one, the second stores three jobs."""
    _, ids = scan(engine, 8)
    for sent in (0, 2, 4):
        if sent == 4:
            scan(engine, 3)
        shelf.messages["cpu"] = ids[:sent]
        reaper.check()
    assert shelf.messages["cpu"] == ids[:4]


def test_those_sent_longest_ago_are_sent_again_first(engine: Engine, reaper: Reaper, shelf: Shelf) -> None:
    _, ids = scan(engine, 4)
    for audit_id in (ids[2], ids[0], ids[3], ids[1]):
        Leases(engine).mark_sent([audit_id])
    shelf.messages["cpu"] = [-1, -2]
    for _ in range(3):
        reaper.check()
    assert shelf.messages["cpu"] == [-1, -2, ids[2], ids[0]]
    shelf.messages["cpu"] = [-1, -2]
    for _ in range(3):
        reaper.check()
    assert shelf.messages["cpu"] == [-1, -2, ids[3], ids[1]]  # it goes round


def test_a_lost_message_is_one_message_whatever_kinds_of_jobs_wait(
    engine: Engine, reaper: Reaper, shelf: Shelf
) -> None:
    """An audit and a training wait, and one message is lost: the job that was sent longest ago is sent again."""
    _, (audit_id,) = scan(engine)
    training = Trainings(engine).create("adapt", "demo:m", None, {"seconds": 9}, "cpu")
    Leases(engine).mark_sent([audit_id])
    TrainingLeases(engine).mark_sent([training.training_id])
    for oldest in (("audit", audit_id), ("training", training.training_id), ("audit", audit_id)):
        shelf.jobs.clear()
        shelf.messages["cpu"] = [-1]
        for _ in range(3):
            reaper.check()
        assert shelf.jobs == [oldest]


def test_each_queue_is_counted_for_itself(engine: Engine, reaper: Reaper, shelf: Shelf) -> None:
    _, cpu = scan(engine, 1)
    _, gpu = scan(engine, 2, "gpu")
    scan(engine, 3, "here", f"{host_name()}:{os.getpid()}")
    for _ in range(4):
        reaper.check()
    assert shelf.messages == {"cpu": cpu, "gpu": gpu}


@pytest.mark.parametrize("error", [EnvironmentUnusableError("no broker"), ConnectionRefusedError("refused")])
def test_a_broker_that_is_away_is_only_logged(
    engine: Engine, clock: Clock, reaper: Reaper, shelf: Shelf, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    scan_id, ids = scan(engine, 2)
    Store(engine).claim(ids[0])
    shelf.error = error
    reaper.check()
    look(reaper, clock, 60)
    assert states(engine, scan_id) == ["queued", "queued"]  # the rest of its work is done
    assert f"queue cpu: {error}" in caplog.text
    shelf.error = None
    for _ in range(3):
        reaper.check()
    assert sorted(shelf.messages["cpu"]) == ids


def test_two_reapers_put_a_job_back_once(engine: Engine, clock: Clock, shelf: Shelf) -> None:
    scan_id, (audit_id,) = scan(engine)
    Store(engine).claim(audit_id)
    reapers = [Reaper(engine, LEASE, shelf, ("cpu",), clock) for _ in range(2)]
    for _ in range(6):
        for reaper in reapers:
            reaper.check()
        clock.at += 15
    (shown,) = load_scan(engine, scan_id).audits
    assert (shown.state, shown.losses) == ("queued", 1)


# Real brokers.


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    redis = Redis()
    yield redis
    redis.stop()


def _amqp() -> str:
    try:
        socket.create_connection(("127.0.0.1", 5672), 3).close()
    except OSError:
        pytest.skip("needs RabbitMQ at 127.0.0.1:5672, which does not answer")
    return "amqp://guest:guest@127.0.0.1:5672//"


@pytest.fixture(params=["redis", "amqp"])
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A queue of one's own on a real broker."""
    url = request.getfixturevalue("own_redis").url if request.param == "redis" else _amqp()
    name = f"test-{uuid.uuid4().hex}"
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    monkeypatch.setattr(dispatch, "QUEUES", (name,))
    settings.cache_clear()
    dispatch._app.cache_clear()
    yield name
    app = dispatch._app(url)
    with app.connection_for_write() as connection:
        app.amqp.queues[name].bind(connection.default_channel).delete()
    pools.reset()
    app.close()
    dispatch._app.cache_clear()


def read(queue: str) -> list[Any]:
    """All messages of a queue, taken out."""
    app, found = dispatch._app(settings().broker_url), []
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue].bind(connection.default_channel)
        while (message := bound.get()) is not None:
            found.append(message)
            message.ack()
    return found


def test_what_was_sent_waits_in_a_real_broker(queue: str) -> None:
    dispatch.check_broker()
    assert dispatch.count_waiting(queue) == 0
    dispatch.send([Unsent(7, 100.0), Unsent(8, 1e6)], queue)
    dispatch.send([], queue)
    wait_for(queue, 2)
    messages = read(queue)
    assert [message.decode()[0] for message in messages] == [[7], [8]]
    assert {message.headers["task"] for message in messages} == {dispatch.TASKS["audit"]}
    # Hard limit before soft limit, in Celery's header.
    assert [message.headers["timelimit"] for message in messages] == [[1060, 1000], [1_000_960, 1_000_900]]
    assert dispatch.count_waiting(queue) == 0


def wait_for(queue: str, number: int) -> None:
    """RabbitMQ counts a message once it has taken it, a moment after it was sent."""
    end = time.monotonic() + 5
    while dispatch.count_waiting(queue) != number and time.monotonic() < end:
        time.sleep(0.02)
    assert dispatch.count_waiting(queue) == number


def test_a_queue_that_a_real_broker_lost_is_filled_again(queue: str, engine: Engine) -> None:
    _, ids = scan(engine, 3, queue)
    jobs = Leases(engine).longest_unsent(queue, 9)
    Leases(engine).mark_sent(ids)
    dispatch.send(jobs, queue)
    wait_for(queue, 3)
    reaper = Reaper(engine, LEASE, dispatch, (queue,))
    for _ in range(3):
        reaper.check()
    assert dispatch.count_waiting(queue) == 3
    read(queue)  # it forgets
    for _ in range(4):
        reaper.check()
    assert [message.decode()[0] for message in read(queue)] == [[audit_id] for audit_id in ids]


def test_a_queue_lets_workers_take_as_long_as_the_longest_audit() -> None:
    """RabbitMQ itself takes the argument, in the tests above; by default it gives up after half an hour."""
    for queue in dispatch.sender_settings("amqp://")["task_queues"]:
        milliseconds = queue.queue_arguments["x-consumer-timeout"]
        assert milliseconds > 1000 * (dispatch.LONGEST_DAYS * 86_400 + dispatch.HARD_MARGIN)
    seconds = dispatch.BROKER_OPTIONS["redis"]["visibility_timeout"]
    assert seconds > dispatch.LONGEST_DAYS * 86_400 + dispatch.HARD_MARGIN


@pytest.mark.long
@pytest.mark.parametrize(
    ("url", "ask"),
    [
        ("redis://127.0.0.1:1/0", lambda: dispatch.check_broker()),
        ("amqp://bob:secret@127.0.0.1:1//", lambda: dispatch.check_broker()),
        ("redis://:secret@127.0.0.1:1/0", lambda: dispatch.send([Unsent(1, 1.0)], "cpu")),
        ("amqp://bob:secret@127.0.0.1:1//", lambda: dispatch.count_waiting("cpu")),
    ],
    ids=["check, Redis", "check, RabbitMQ", "send", "count"],
)
def test_a_broker_that_does_not_answer_is_one_line(
    url: str, ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    settings.cache_clear()
    with pytest.raises(EnvironmentUnusableError, match="does not answer") as caught:
        ask()
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["kafka://127.0.0.1", "foo", "", "sqs://", "http://x", "memory://", "redis", "://"])
def test_a_broker_of_another_kind_is_not_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    settings.cache_clear()
    with pytest.raises(UsageError, match=r"AUDITOR_BROKER_URL.*redis://… or amqp://…") as caught:
        dispatch.check_broker()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", "redis"), ("rediss://h", "redis"), ("redis+socket:///run/redis", "redis"),
        ("amqp://h", "amqp"), ("amqps://h", "amqp"), ("pyamqp://h", "amqp"), ("REDIS://h", "redis"),
    ],
)  # fmt: skip
def test_the_kinds_of_brokers(url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    settings.cache_clear()
    assert dispatch.broker_url() == url
    assert dispatch.broker_options(url) == dispatch.BROKER_OPTIONS[kind]


@pytest.mark.parametrize(("device", "queue"), [("cpu", "cpu"), ("cuda", "gpu")])
def test_the_queue_of_a_device(device: str, queue: str) -> None:
    assert dispatch.queue_of(device) == queue


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0", "mps", "", "CPU"])
def test_a_device_that_no_queue_has(device: str) -> None:
    with pytest.raises(UsageError, match="workers choose the GPU"):
        dispatch.queue_of(device)
