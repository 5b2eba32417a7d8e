"""What boosts and adaptations have in common as jobs: claimed, carried out, stored, told of. No torch."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from auditor.db.trainings import TrainingJob, Trainings
from auditor.jobs.lease import Heartbeat, LeaseHandle
from auditor.jobs.run import Reporter, carry_out
from auditor.logs import about
from auditor.records import ZooEntry
from auditor.records.boosts import EpochScore
from auditor.zoo import Source

logger = logging.getLogger(__name__)
Found = TypeVar("Found")

Child = Callable[[str, float, int | None], Callable[..., Any]]
"""Makes what runs a task, named by its function, in a child process, within seconds and bytes."""


class TrainingReporter(Reporter, Protocol):
    """Who wants to know how a training gets on."""

    def epoch(self, score: EpochScore) -> None:
        """An epoch is validated; number 0 is the model as it came."""

    def stage(self, words: str) -> None:
        """What comes next."""


class Silent:
    """Nobody looks on: what the database is told is enough."""

    def model(self, name: str) -> None: ...
    def part(self, name: str, part: str, done: int, total: int) -> None: ...
    def ended(self, name: str, outcome: str) -> None: ...
    def epoch(self, score: EpochScore) -> None: ...
    def stage(self, words: str) -> None: ...


class Place(Protocol):
    """The part of a request that says where its model is, and whether its code may run."""

    @property
    def folder(self) -> str | None: ...
    @property
    def place(self) -> Path | None: ...
    @property
    def trust_code(self) -> bool: ...


@dataclass(frozen=True)
class Run:
    """What the process that runs a training lends it."""

    open_source: Callable[[ZooEntry, Place], Source]
    child: Child
    heartbeat: Heartbeat
    reporter: TrainingReporter


class TrainingAttempt(Generic[Found]):
    """One attempt at one training; ``attempt`` is 0 until it is claimed."""

    def __init__(self, trainings: Trainings, job: TrainingJob) -> None:
        self.trainings, self.job, self.attempt = trainings, job, 0
        self.leases, self.job_id = trainings.leases, job.training_id
        self.name = f"{job.kind} {job.training_id}, {job.model}"
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def work(self, handle: LeaseHandle) -> Found:
        """Do what was asked for."""
        raise NotImplementedError

    def store_result(self, found: Found) -> str:
        """Store it; what has become of the job, in a word."""
        raise NotImplementedError

    def fail(self, reason: str) -> bool:
        return bool(self.trainings.fail(self.job_id, self.attempt, reason))

    def carry_out(self, heartbeat: Heartbeat) -> str:
        """From claim to stored row; returns ``done``, ``taken``, ``cancelled`` or ``failed: REASON``.

        Killed at whatever point, the next attempt goes on from what was saved.
        """
        with about(training=self.job_id, model=self.job.model, worker=heartbeat.name):
            attempt, ended = self.leases.claim(self.job_id, heartbeat.name, heartbeat.lease, heartbeat.queue), "taken"
            if attempt is not None:
                self.attempt = attempt
                ended = carry_out(self, heartbeat, self.work)
            logger.info("%s: %s after %.1f s", self.name, ended, self.seconds)
            return ended
