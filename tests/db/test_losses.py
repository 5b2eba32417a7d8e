"""Lost processes are counted since a job last got further than ever: only what kills its process is given up."""

import itertools
import json
import uuid
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import Engine

from auditor.audit.resume import SavedAttempt
from auditor.db.leases import Leases
from auditor.db.scans import load_scan
from auditor.db.store import Store
from auditor.db.trainings import Trainings, load_training
from auditor.jobs.audit import AuditAttempt, AuditExecutor
from auditor.jobs.heartbeat import Heartbeat, LeaseHandle, LeaseLostError
from auditor.records import AuditRequest, Measurement
from auditor.records.boosts import EpochScore, RecipeOptions
from auditor.scans.request import ScanRequest
from auditor.trainings.boost import BoostAttempt, BoostRequest
from auditor.trainings.job import NullReporter, TrainingExecutor
from tests.factories.records import REQUEST, entry

NAMES = itertools.count()
SCAN = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=3))


def lose(leases: Leases, job_id: int) -> str | None:
    (lease,) = [one for one in leases.running() if one.job_id == job_id]
    return leases.expire(lease)


class Audit:
    """An audit whose process is lost again and again."""

    def __init__(self, engine: Engine) -> None:
        self.store, self.leases = Store(engine), Leases(engine)
        self.scan_id, (self.job,) = self.store.create_scan("demo", REQUEST, [entry(f"lost-{next(NAMES)}")], queue="cpu")

    def begin(self, key: str) -> SavedAttempt:
        """An attempt on a machine on which what was saved has this key."""
        attempt = self.store.claim(self.job.audit_id, "host:1")
        assert attempt is not None
        executor = AuditExecutor(store=self.store, measure=lambda *_: None, heartbeat=None)
        job_attempt = AuditAttempt(executor, self.job, attempt, force=False, reverify=False)
        return SavedAttempt(job_attempt.context(LeaseHandle(self.leases, self.job.audit_id, attempt)), key)

    def lost(self, key: str, saves: int, of_use: bool = True) -> str | None:
        """An attempt that saves so often, and is lost; ``of_use``: it goes on from what it finds."""
        attempts = self.begin(key)
        if attempts.load() is not None and not of_use:
            attempts.save(b"")
        for number in range(saves):
            attempts.save(b"%d" % number)
        return lose(self.leases, self.job.audit_id)

    @property
    def losses(self) -> int:
        (audit,) = load_scan(self.store.engine, self.scan_id).audits
        return audit.losses


# Attempts: the key of the machine, how often it saves, whether it goes on from what was saved. Then the audit's end.
SEQUENCES: dict[str, tuple[list[tuple[Any, ...]], str, int]] = {
    "once": ([("a", 0)], "queued", 1),
    "twice": ([("a", 0)] * 2, "queued", 2),
    "thrice": ([("a", 0)] * 3, "failed", 2),
    "thrice, on other machines": ([("a", 0), ("b", 0), ("c", 0)], "failed", 2),
    "progress in between": ([("a", 0), ("a", 0), ("a", 1), ("a", 0)], "queued", 2),
    "progress, and no more": ([("a", 0), ("a", 0), ("a", 1), ("a", 0), ("a", 0)], "failed", 2),
    "progress each time": ([("a", 1)] * 15, "queued", 1),
    "much each time": ([("a", 4), ("a", 2)] * 4, "queued", 1),
    "progress every second time": ([("a", 0), ("a", 1)] * 5, "queued", 1),
    "first progress after two losses": ([("a", 0), ("b", 0), ("b", 3)], "queued", 1),
    "from the start on each machine": ([("a", 2), ("b", 2), ("c", 2)], "failed", 2),
    "from the start, then on": ([("a", 2), ("b", 2), ("b", 1), ("b", 0)], "queued", 2),
    "what was saved is never of use": ([("a", 2), ("a", 2, False), ("a", 2, False)], "failed", 2),
    "what was saved is once of no use": ([("a", 2), ("a", 2, False), ("a", 2), ("a", 0)], "queued", 2),
    "of no use, and nothing after it": ([("a", 2), ("a", 0, False), ("a", 0, False)], "failed", 2),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SEQUENCES)
def test_an_audit_is_given_up_after_three_losses_without_progress(shared: Engine, name: str) -> None:
    attempts, state, losses = SEQUENCES[name]
    audit = Audit(shared)
    found = [audit.lost(*one) for one in attempts]
    assert found == ["queued"] * (len(attempts) - 1) + [state]
    assert audit.losses == losses


def test_progress_of_an_older_attempt_counts_for_nothing(shared: Engine) -> None:
    audit = Audit(shared)
    older = audit.begin("a")
    older.load()
    assert lose(audit.leases, audit.job.audit_id) == "queued"
    newer = audit.begin("a")
    older.save(b"late")
    assert newer.load() is None
    assert audit.losses == 1
    newer.save(b"in time")
    assert audit.losses == 0
    assert lose(audit.leases, audit.job.audit_id) == "queued"
    older.save(b"late")
    newer.save(b"late, too")
    assert audit.losses == 1


def test_a_process_that_is_given_up_is_said_to_be_lost_without_progress(shared: Engine) -> None:
    audit = Audit(shared)
    for _ in range(3):
        audit.lost("a", 0)
    (shown,) = load_scan(shared, audit.scan_id).audits
    assert shown.reason == (
        "given up: 3 processes that ran it were lost and it made no progress, the last time host:1 gave no sign of "
        "life for the length of its lease"
    )


def epoch(number: int) -> EpochScore:
    return EpochScore(number=number, loss=1.0, clean_accuracy=0.5, pgd_accuracy=0.5, gap=0.1, seconds=1.0)


class Boost:
    """A boost whose process is lost again and again."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.trainings = engine, Trainings(engine)
        recipe = RecipeOptions(steps=2, step_size=0.05, epochs=20).make_recipe(eps=0.1, norm="Linf")
        self.request = BoostRequest(recipe=recipe, scan=SCAN)
        self.queue = uuid.uuid4().hex
        self.job = self.trainings.create("boost", "demo:m", entry(), self.request.to_json(), queue=self.queue)

    def lost(self, first: int, last: int) -> str | None:
        """An attempt that has the epochs before ``first`` from its file, and is lost after ``last``."""

        def child(*_: object) -> Any:
            def train(_: object, __: object, ___: object, context: Any) -> None:
                history = [epoch(number) for number in range(first)]
                for number in range(first, last + 1):
                    history.append(epoch(number))
                    context.save("history", json.dumps([asdict(one) for one in history]).encode())
                raise LeaseLostError

            return train

        heartbeat = Heartbeat(self.engine, queue=self.queue, device="cpu", lease=60)
        executor = TrainingExecutor(
            open_source=lambda *_: None, make_child=child, heartbeat=heartbeat, reporter=NullReporter()
        )
        assert BoostAttempt(self.trainings, self.job, self.request, executor).run() == "taken"
        return lose(self.trainings.leases, self.job.training_id)


EPOCHS: dict[str, tuple[list[tuple[int, int]], str, int]] = {
    "before the first": ([(0, -1)] * 3, "failed", 2),
    "an epoch each time": ([(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)], "queued", 1),
    "the same epoch again and again": ([(0, 0)] * 3, "failed", 2),
    "on to the same epoch": ([(0, 3), (4, 3), (4, 3)], "failed", 2),
    "two losses, an epoch, two losses": ([(0, -1), (0, -1), (0, 0), (1, 0)], "queued", 2),
    "from the start to where it was": ([(0, 3), (0, 3), (0, 3)], "failed", 2),
    "from the start, and beyond": ([(0, 3), (0, 1), (0, 4), (5, 4)], "queued", 2),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_a_boost_is_given_up_after_three_losses_without_a_new_epoch(shared: Engine, name: str) -> None:
    attempts, state, losses = EPOCHS[name]
    boost = Boost(shared)
    found = [boost.lost(*one) for one in attempts]
    assert found == ["queued"] * (len(attempts) - 1) + [state]
    assert load_training(shared, boost.job.training_id).losses == losses


def test_epochs_of_an_older_attempt_count_for_nothing(shared: Engine) -> None:
    boost = Boost(shared)
    trainings, number = boost.trainings, boost.job.training_id
    older = trainings.leases.claim(number, "host:1")
    assert lose(trainings.leases, number) == "queued"
    newer = trainings.leases.claim(number, "host:2")
    assert not trainings.note_history(number, older, [epoch(0)])
    assert load_training(shared, number).losses == 1
    assert trainings.note_history(number, newer, [epoch(0)])
    assert load_training(shared, number).losses == 0
