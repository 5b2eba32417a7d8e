"""What boosts and adaptations have in common as jobs: reporters, executors, attempts. No torch."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from auditor.db.ending import now
from auditor.db.trainings import TrainingJob, Trainings
from auditor.jobs.child import ChildFactory
from auditor.jobs.heartbeat import Heartbeat, LeaseHandle
from auditor.jobs.run import Reporter, open_attempt_span, record_outcome, run_claimed
from auditor.logs import log_context
from auditor.records import ZooEntry
from auditor.records.boosts import EpochScore
from auditor.zoo import Source

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


class TrainingReporter(Reporter, Protocol):
    """Follows a training."""

    def epoch(self, score: EpochScore) -> None:
        """An epoch was validated; number 0 is the model before the training."""

    def stage(self, name: str) -> None:
        """A stage of the training starts."""


class NullReporter:
    """Reports nothing; the progress is in the database."""

    def model(self, name: str) -> None: ...
    def part(self, name: str, part: str, done: int, total: int) -> None: ...
    def ended(self, name: str, outcome: str) -> None: ...
    def epoch(self, score: EpochScore) -> None: ...
    def stage(self, name: str) -> None: ...


class ZooLocation(Protocol):
    """The part of a request that says where the zoo is, and whether its code may run."""

    @property
    def folder(self) -> str | None: ...
    @property
    def place(self) -> Path | None: ...
    @property
    def trust_code(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class TrainingExecutor:
    """What the process that runs a training provides: it opens sources, makes children and sends heartbeats."""

    open_source: Callable[[ZooEntry, ZooLocation], Source]
    make_child: ChildFactory
    heartbeat: Heartbeat
    reporter: TrainingReporter


class TrainingAttempt(ABC, Generic[ResultT]):
    """One attempt at one training; ``attempt`` is 0 until the job is claimed."""

    def __init__(self, trainings: Trainings, job: TrainingJob, executor: TrainingExecutor) -> None:
        self.trainings, self.job, self.executor, self.attempt = trainings, job, executor, 0
        self.leases, self.job_id = trainings.leases, job.training_id
        self.name = f"{job.kind} {job.training_id}, {job.model}"
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @abstractmethod
    def work(self, handle: LeaseHandle) -> ResultT:
        """Run the training and return its result."""

    @abstractmethod
    def store_result(self, result: ResultT) -> str:
        """Store the result; returns the outcome."""

    def fail(self, reason: str) -> bool:
        return bool(self.trainings.fail(self.job_id, self.attempt, reason))

    def run(self) -> str:
        """Run the training from claim to stored row; returns ``done``, ``taken``, ``cancelled`` or ``failed: REASON``.

        If the process is killed at any point, the next attempt resumes from the saved state.
        """
        heartbeat = self.executor.heartbeat
        ids, started = {"training": self.job_id, "model": self.job.model, "worker": heartbeat.name}, now()
        with log_context(**ids):
            attempt, outcome = self.leases.claim(self.job_id, heartbeat.name, heartbeat.lease, heartbeat.queue), "taken"
            if attempt is not None:
                self.attempt = attempt
                with open_attempt_span(
                    "attempt", self.job.request, started, heartbeat.queue, job=self.job.kind, attempt=attempt, **ids
                ) as span:
                    outcome = run_claimed(self, heartbeat, self.work)
                    record_outcome(span, outcome)
            logger.info("%s: %s after %.1f s", self.name, outcome, self.seconds)
            return outcome
