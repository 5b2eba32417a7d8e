"""A boost from claim to stored row: fine-tuning, an audit of before and one of after, what they say. No torch."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from auditor.config import settings
from auditor.db.pairing import pair
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.store import Store
from auditor.db.trainings import TrainingJob, Trainings
from auditor.errors import MeasurementError, UsageError
from auditor.here import HaltedError, run_scan
from auditor.jobs import Reporter, carry_out
from auditor.leases import Heart, Hold, LeaseLostError
from auditor.logs import about
from auditor.records import Contact, ZooEntry
from auditor.records.boosts import RUN, BoostTask, Comparison, EpochScore, Made, Recipe
from auditor.scans import ScanRequest
from auditor.statistics import mcnemar
from auditor.zoo import Source, find_source

logger = logging.getLogger(__name__)
BOOST = "auditor.boosting.boost"
"""The task of the child process that trains."""
AUDIT_SLOT = 1
"""Of the process: slot 0 gives the boost's own signs of life."""

Child = Callable[[str], Callable[..., Any]]
"""Makes what runs a task, named by its function, in a child process."""


class BoostReporter(Reporter, Protocol):
    """Who wants to know how a boost gets on."""

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


@dataclass(frozen=True, kw_only=True)
class BoostRequest:
    """All that a boost asks for, so that another process, on another machine, can do it.

    ``scan``: how the audits before and after are made; ``training``: where the training images lie, None for the data
    set's own place; ``seconds`` of wall time that training may take.
    """

    recipe: Recipe
    scan: ScanRequest
    training: Path | None = None
    seconds: float = 14 * 86_400.0

    def to_json(self) -> dict[str, Any]:
        training = None if self.training is None else str(self.training)
        return {
            "recipe": asdict(self.recipe),
            "scan": self.scan.to_json(),
            "training": training,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "BoostRequest":
        """Raises UsageError where another auditor kept something else."""
        try:
            training = None if stored["training"] is None else Path(stored["training"])
            recipe, seconds = Recipe(**stored["recipe"]), stored["seconds"]
            return cls(recipe=recipe, scan=ScanRequest.from_json(stored["scan"]), training=training, seconds=seconds)
        except (KeyError, TypeError) as error:
            raise UsageError(f"the boost was asked of another version of auditor ({error}): ask again") from error


def run_boost(
    trainings: Trainings,
    job: TrainingJob,
    request: BoostRequest,
    open_source: Callable[[], Source],
    child: Child,
    heart: Heart,
    reporter: BoostReporter,
) -> str:
    """One boost; returns ``done``, ``taken``, ``cancelled`` or ``failed: REASON``.

    Killed at whatever point, the next attempt finds the audit that was made, and the last epoch's state.
    """
    began = time.monotonic()
    with about(training=job.training_id, model=job.model, worker=heart.name):
        attempt = trainings.leases.claim(job.training_id, heart.name, heart.lease, heart.queue)
        ended = "taken"
        if attempt is not None:
            desk = _Desk(trainings, job, attempt, request, child, reporter)
            ended = carry_out(desk, heart, lambda hold: desk.boost(open_source(), hold))
        seconds = time.monotonic() - began
        logger.info("boost %d, %s: %s after %.1f s", job.training_id, job.model, ended, seconds)
        return ended


class _Desk:
    """One attempt at one boost."""

    def __init__(
        self,
        trainings: Trainings,
        job: TrainingJob,
        attempt: int,
        request: BoostRequest,
        child: Child,
        reporter: BoostReporter,
    ) -> None:
        assert job.entry is not None, "a boost begins with a model"
        self.trainings, self.job, self.attempt, self.request = trainings, job, attempt, request
        self.child, self.reporter, self.entry = child, reporter, job.entry
        self.leases, self.job_id = trainings.leases, job.training_id
        self.name = f"boost {job.training_id}, {job.model}"
        self.began = time.monotonic()

    def boost(self, source: Source, hold: Hold) -> Comparison:
        """Train, audit what there was before and what there is after, compare.

        Training comes first: what is wrong with the request shows in its first seconds.
        """
        self.reporter.stage(f"fine-tuning {self.entry.model}, {self.request.recipe.epochs} epochs")
        made = self._train(source, hold)
        if not self.trainings.add_checkpoint(self.job_id, self.attempt, made):
            raise LeaseLostError
        self.reporter.stage(f"audit of {self.entry.model}, before")
        before = self._audit(source, self.entry, self.request.scan, hold)
        self.reporter.stage(f"audit of checkpoint:{self.job_id}, after")
        zoo = find_source("checkpoint", settings().checkpoints, trust_code=self.request.scan.trust_code)
        (entry,) = [one for one in zoo.entries() if one.model == f"checkpoint:{self.job_id}"]
        after = self._audit(zoo, entry, replace(self.request.scan, folder=None), hold)
        return compare(self.trainings, before, after)

    def put_away(self, found: Comparison) -> str:
        """Store the comparison; the run's state is needed no more."""
        seconds = time.monotonic() - self.began
        if not self.trainings.finish_boost(self.job_id, self.attempt, found, seconds):
            return "taken"
        (settings().checkpoints / str(self.job_id) / RUN).unlink(missing_ok=True)
        return "done"

    def fail(self, reason: str) -> bool:
        return bool(self.trainings.fail(self.job_id, self.attempt, reason))

    def _audit(self, source: Source, entry: ZooEntry, request: ScanRequest, hold: Hold) -> int:
        """The audit of a model: made now, or before under the same identity."""
        store = Store(self.trainings.engine, self.trainings.patience)
        measure = self.child("auditor.measure.measure")
        try:
            outcome = run_scan(
                store,
                source,
                entry.source,
                [entry],
                request,
                self.reporter,
                measure,
                slot=AUDIT_SLOT,
                halted=lambda: hold.state != "held",
            )
        except HaltedError:
            hold.check()
            raise
        if outcome.failed:
            raise MeasurementError(f"the audit of {entry.model} failed: {outcome.failed[entry.model]}")
        rows = list_results(store.engine, Filter(scan=outcome.scan_id))
        if not rows or rows[0]["status"] != "done":
            raise MeasurementError(f"the audit of {entry.model} was cancelled")
        number: int = rows[0]["id"]
        return number

    def _train(self, source: Source, hold: Hold) -> Made:
        task = BoostTask(
            recipe=self.request.recipe,
            number=self.job_id,
            checkpoints=settings().checkpoints.absolute(),
            training=self.request.training,
            tests=self.request.scan.measurement.data,
            place=self.request.scan.place,
            device=self.request.scan.measurement.audit.device,
        )

        def progress(part: str, done: int, total: int) -> None:
            hold.progress(part, done, total)
            self.reporter.part(self.entry.model, part, done, total)

        def save(_: str, content: bytes) -> None:
            history = [EpochScore(**score) for score in json.loads(content)]
            self.trainings.note_history(self.job_id, self.attempt, history)
            self.reporter.epoch(history[-1])

        contact = Contact(progress=progress, save=save, stopped=hold.check)
        made: Made = self.child(BOOST)(source, self.entry, task, contact)
        return made


def compare(trainings: Trainings, before: int, after: int) -> Comparison:
    """What two audits say, paired on the images that both saw."""
    first, second = (load_detail(trainings.engine, number) for number in (before, after))
    robust = pair((second.row, second.verdicts), (first.row, first.verdicts)).robust
    low, high = robust.interval()
    return Comparison(
        before_audit_id=before,
        after_audit_id=after,
        n=robust.n,
        only_before=robust.only_second,
        only_after=robust.only_first,
        difference=robust.difference,
        difference_low=low,
        difference_high=high,
        p_value=mcnemar(robust.only_first, robust.only_second),
    )
