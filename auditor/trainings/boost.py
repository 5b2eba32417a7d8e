"""A boost from claim to stored row: fine-tuning, an audit of before and one of after, what they say. No torch."""

import json
import logging
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from auditor.config import settings
from auditor.db.patience import AWAY
from auditor.db.results import Filter, list_results, load_detail, load_verdicts
from auditor.db.store import Store
from auditor.db.trainings import TrainingJob, Trainings
from auditor.errors import MeasurementError, UsageError, first_line
from auditor.jobs.lease import LeaseHandle, LeaseLostError
from auditor.records import JobContext, ZooEntry
from auditor.records.boosts import RUN, TRAINING_SECONDS, BoostOutcome, BoostTask, Comparison, EpochScore, Recipe
from auditor.results.pairing import pair
from auditor.scans.local import HaltedError, run_scan
from auditor.scans.request import ScanRequest
from auditor.statistics import mcnemar
from auditor.trainings.job import Run, TrainingAttempt
from auditor.zoo import Source, find_source
from auditor.zoo.checkpoint import read_description

logger = logging.getLogger(__name__)
BOOST = "auditor.boost.task.boost"
AUDIT_SLOT = 1
"""Of the process: slot 0 gives the boost's own signs of life."""


@dataclass(frozen=True, kw_only=True)
class BoostRequest:
    """All that a boost asks for, so that another process, on another machine, can do it.

    ``scan``: how the audits before and after are made; ``training``: where the training images lie, None for the data
    set's own place; ``training_seconds`` of wall time that training may take; ``seconds`` all of it, audits and all.
    """

    recipe: Recipe
    scan: ScanRequest
    training: Path | None = None
    training_seconds: float = TRAINING_SECONDS
    owner: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def seconds(self) -> float:
        return self.training_seconds + 2 * self.scan.seconds

    def to_json(self) -> dict[str, Any]:
        training = None if self.training is None else str(self.training)
        return {
            "recipe": asdict(self.recipe),
            "scan": self.scan.to_json(),
            "training": training,
            "training_seconds": self.training_seconds,
            "owner": self.owner,
            "seconds": self.seconds,
            "device": self.scan.measurement.audit.device,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "BoostRequest":
        """Raises UsageError where another auditor kept something else."""
        try:
            training = None if stored["training"] is None else Path(stored["training"])
            own: dict[str, Any] = {"recipe": Recipe(**stored["recipe"]), "scan": ScanRequest.from_json(stored["scan"])}
            same = {name: stored[name] for name in ("training_seconds", "owner")}
            return cls(training=training, **same, **own)
        except (KeyError, TypeError) as error:
            raise UsageError(f"the boost was asked of another version of auditor ({error}): ask again") from error


class BoostAttempt(TrainingAttempt[Comparison]):
    """One attempt at one boost."""

    def __init__(self, trainings: Trainings, job: TrainingJob, request: BoostRequest, run: Run) -> None:
        super().__init__(trainings, job)
        assert job.entry is not None, "a boost begins with a model"
        self.request, self.run, self.entry = request, run, job.entry
        self.reporter = run.reporter

    def work(self, handle: LeaseHandle) -> Comparison:
        return self.boost(self.run.open_source(self.entry, self.request.scan), handle)

    def boost(self, source: Source, handle: LeaseHandle) -> Comparison:
        """Train, audit what there was before and what there is after, compare.

        Training comes first: what is wrong with the request shows in its first seconds.
        """
        self.reporter.stage(f"fine-tuning {self.entry.model}, {self.request.recipe.epochs} epochs")
        made = self._train(source, handle)
        if not self.trainings.add_checkpoint(self.job_id, self.attempt, made):
            raise LeaseLostError
        self.reporter.stage(f"audit of {self.entry.model}, before")
        before = self._audit(source, self.entry, self.request.scan, handle)
        self.reporter.stage(f"audit of checkpoint:{self.job_id}, after")
        zoo = find_source("checkpoint", settings().checkpoints, trust_code=self.request.scan.trust_code)
        entry, _, _ = read_description(settings().checkpoints / str(self.job_id))
        after = self._audit(zoo, entry, replace(self.request.scan, folder=None), handle)
        return compare(self.trainings, (before, made.parent_sha256), (after, made.weights_sha256))

    def store_result(self, found: Comparison) -> str:
        """Store the comparison; the run's state is needed no more."""
        if not self.trainings.finish_boost(self.job_id, self.attempt, found, self.seconds):
            return "taken"
        (settings().checkpoints / str(self.job_id) / RUN).unlink(missing_ok=True)
        return "done"

    def _audit(self, source: Source, entry: ZooEntry, request: ScanRequest, handle: LeaseHandle) -> int:
        """The audit of a model: made now, or before under the same identity."""
        store = Store(self.trainings.engine, self.trainings.patience)
        measure = self.run.child("auditor.audit.task.measure", request.seconds, request.memory)
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
                halted=lambda: handle.state != "held",
            )
        except HaltedError:
            handle.check()
            raise
        if outcome.failed:
            raise MeasurementError(f"the audit of {entry.model} failed: {outcome.failed[entry.model]}")
        rows = list_results(store.engine, Filter(scan=outcome.scan_id))
        if not rows or rows[0]["status"] != "done":
            raise MeasurementError(f"the audit of {entry.model} was cancelled")
        number: int = rows[0]["id"]
        if load_verdicts(store.engine, number) is None and not request.force:
            self.reporter.stage(f"audit of {entry.model}, again: its verdicts were pruned")
            return self._audit(source, entry, replace(request, force=True), handle)
        return number

    def _train(self, source: Source, handle: LeaseHandle) -> BoostOutcome:
        task = BoostTask(
            recipe=self.request.recipe,
            number=self.job_id,
            checkpoints=settings().checkpoints.absolute(),
            training=self.request.training,
            tests=self.request.scan.measurement.data,
            place=self.request.scan.place,
            device=self.request.scan.measurement.audit.device,
            owner=self.request.owner,
        )

        def progress(part: str, done: int, total: int) -> None:
            handle.progress(part, done, total)
            self.reporter.part(self.entry.model, part, done, total)

        before = self.trainings.count_epochs(self.job_id)

        def save(_: str, content: bytes) -> None:
            history = [EpochScore(**score) for score in json.loads(content)]
            try:
                further = len(history) > before  # an epoch that is trained anew is no step forward
                self.trainings.note_history(self.job_id, self.attempt, history, further=further)
            except AWAY as error:  # the next epoch brings all of it again
                logger.warning("%s: its history is not stored: %s", self.name, first_line(error))
            self.reporter.epoch(history[-1])

        def wanted(_: str) -> bool:
            return self.leases.renew(self.job_id, self.attempt, self.run.heartbeat.lease) == "held"

        context = JobContext(progress=progress, save=save, wanted=wanted, stopped=handle.check)
        scan = self.request.scan
        made: BoostOutcome = self.run.child(BOOST, self.request.training_seconds, scan.memory)(
            source, self.entry, task, context
        )
        return made


def compare(trainings: Trainings, before: tuple[int, str], after: tuple[int, str]) -> Comparison:
    """What two audits say, paired on the images that both saw; each by its number and the weights that it must be of.

    Raises:
        MeasurementError: an audit is of other weights: the model was changed while this ran.
        UsageError: the audits cannot be paired.
    """
    first, second = (load_detail(trainings.engine, number) for number, _ in (before, after))
    for detail, (number, digest) in ((first, before), (second, after)):
        if detail.row["weights_sha256"] != digest:
            raise MeasurementError(
                f"audit {number} is of other weights of {detail.row['model']} than those of the training: they were "
                "changed meanwhile; boost again"
            )
    robust = pair((second.row, second.verdicts), (first.row, first.verdicts)).robust
    low, high = robust.interval()
    return Comparison(
        before_audit_id=before[0],
        after_audit_id=after[0],
        n=robust.n,
        only_before=robust.only_second,
        only_after=robust.only_first,
        difference=robust.difference,
        difference_low=low,
        difference_high=high,
        p_value=mcnemar(robust.only_first, robust.only_second),
    )
