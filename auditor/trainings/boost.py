"""A boost as a job: its request, and its attempts: fine-tuning, two audits and their comparison. No torch."""

import json
import logging
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from auditor import tracing
from auditor.config import settings
from auditor.db.results import Filter, list_results, load_detail, load_verdicts
from auditor.db.retry import UNAVAILABLE
from auditor.db.store import Store
from auditor.db.trainings import TrainingJob, Trainings
from auditor.errors import MeasurementError, first_line
from auditor.jobs.heartbeat import LeaseHandle, LeaseLostError
from auditor.jobs.stored_requests import load_request, other_version
from auditor.jobs.tasks import measure_audit, train_boost
from auditor.records import JobContext, ZooEntry
from auditor.records.boosts import RUN, TRAINING_SECONDS, BoostOutcome, BoostTask, Comparison, EpochScore, Recipe
from auditor.records.json import to_json
from auditor.results.pairing import pair
from auditor.scans.local import HaltedError, LocalExecutor
from auditor.scans.request import ScanRequest
from auditor.statistics import mcnemar
from auditor.text.numbers import counted
from auditor.trainings.job import TrainingAttempt, TrainingExecutor
from auditor.zoo import Source, find_source
from auditor.zoo.checkpoint import read_description

logger = logging.getLogger(__name__)
AUDIT_SLOT = 1
"""The slot of the process that sends heartbeats for audits; slot 0 sends those of the boost."""


@dataclass(frozen=True, kw_only=True)
class BoostRequest:
    """Everything that a process, perhaps on another machine, needs to run a boost.

    ``scan``: the request of the audits before and after; ``training``: the folder of the training images, None for the
    data set's default; ``training_seconds`` of wall time that training may take; ``seconds``: training and audits.
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
        device = self.scan.measurement.audit.device
        return to_json(self) | {"scan": self.scan.to_json(), "seconds": self.seconds, "device": device}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "BoostRequest":
        """Raises UsageError if another version of auditor stored the request."""
        unknown = set(stored.get("recipe", ())) - set(Recipe.__dataclass_fields__)
        if unknown:  # to leave out a setting would train another model than the one that was requested
            raise other_version("boost", f"unknown recipe setting {min(unknown)!r}")
        scan = ScanRequest.from_json(stored["scan"]) if "scan" in stored else None
        return load_request(cls, stored | {"scan": scan}, "boost", ("recipe", "training", "training_seconds", "owner"))


class BoostAttempt(TrainingAttempt[Comparison]):
    """One attempt at one boost."""

    def __init__(
        self, trainings: Trainings, job: TrainingJob, request: BoostRequest, executor: TrainingExecutor
    ) -> None:
        super().__init__(trainings, job, executor)
        assert job.entry is not None, "a boost has a model"
        self.request, self.entry = request, job.entry
        self.reporter = executor.reporter

    def work(self, handle: LeaseHandle) -> Comparison:
        """Train the model, audit it before and after the training, and compare the audits.

        Training comes first, because errors in a request show in its first seconds.
        """
        source = self.executor.open_source(self.entry, self.request.scan)
        self.reporter.stage(f"fine-tuning {self.entry.model}, {counted(self.request.recipe.epochs, 'epoch')}")
        with tracing.part("train", epochs=self.request.recipe.epochs):
            outcome = self._train(source, handle)
        if not self.trainings.add_checkpoint(self.job_id, self.attempt, outcome):
            raise LeaseLostError
        self.reporter.stage(f"audit of {self.entry.model}, before")
        before = self._audit(source, self.entry, self.request.scan, handle)
        self.reporter.stage(f"audit of checkpoint:{self.job_id}, after")
        zoo = find_source("checkpoint", settings().checkpoints, trust_code=self.request.scan.trust_code)
        entry, _, _ = read_description(settings().checkpoints / str(self.job_id))
        after = self._audit(zoo, entry, replace(self.request.scan, folder=None), handle)
        return compare(self.trainings, (before, outcome.parent_sha256), (after, outcome.weights_sha256))

    def store_result(self, result: Comparison) -> str:
        """Store the comparison and delete the saved state of the training."""
        if not self.trainings.finish_boost(self.job_id, self.attempt, result, self.seconds):
            return "taken"
        self._remove_state()
        return "done"

    def run(self) -> str:
        """As :meth:`TrainingAttempt.run`; a late attempt removes the state that it saved after the boost was done."""
        outcome = super().run()
        if outcome == "taken" and self.attempt and self.trainings.is_done(self.job_id):
            self._remove_state()
        return outcome

    def _remove_state(self) -> None:
        """Remove the saved state of the training, also what killed processes left of it while they wrote."""
        for file in (settings().checkpoints / str(self.job_id)).glob(f"{RUN}*"):
            file.unlink(missing_ok=True)

    def _audit(self, source: Source, entry: ZooEntry, request: ScanRequest, handle: LeaseHandle) -> int:
        """The ID of the model's audit, which runs now unless there is one of the same identity."""
        store = Store(self.trainings.engine, self.trainings.patience)
        executor = LocalExecutor(
            store=store,
            measure=self.executor.make_child(measure_audit, request.seconds, request.memory),
            reporter=self.reporter,
            first_slot=AUDIT_SLOT,
            is_halted=lambda: handle.state != "active",
        )
        try:
            outcome = executor.run_scan(source, entry.source, [entry], request)
        except HaltedError:
            handle.check()
            raise
        if outcome.failed:
            raise MeasurementError(f"the audit of {entry.model} failed: {outcome.failed[entry.model]}")
        rows = list_results(store.engine, Filter(scan=outcome.scan_id))
        if not rows or rows[0].status != "done":
            raise MeasurementError(f"the audit of {entry.model} was cancelled")
        audit_id: int = rows[0].id
        if load_verdicts(store.engine, audit_id) is None and not request.force:
            self.reporter.stage(f"audit of {entry.model}, again: its verdicts were pruned")
            return self._audit(source, entry, replace(request, force=True), handle)
        return audit_id

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

        stored_epochs = self.trainings.count_epochs(self.job_id)

        def save(_: str, content: bytes) -> None:
            history = [EpochScore(**score) for score in json.loads(content)]
            try:
                further = len(history) > stored_epochs  # an epoch that is trained again is no progress
                self.trainings.note_history(self.job_id, self.attempt, history, further=further)
            except UNAVAILABLE as error:  # the next epoch stores the whole history
                logger.warning("%s: its history is not stored: %s", self.name, first_line(error))
            self.reporter.epoch(history[-1])
            tracing.event("epoch", number=history[-1].number)

        def renew_lease() -> bool:
            return self.leases.renew(self.job_id, self.attempt, self.executor.heartbeat.lease) == "active"

        context = JobContext(progress=progress, save=save, renew_lease=renew_lease, stopped=handle.check)
        train = self.executor.make_child(train_boost, self.request.training_seconds, self.request.scan.memory)
        return train(source, self.entry, task, context)


def compare(trainings: Trainings, before: tuple[int, str], after: tuple[int, str]) -> Comparison:
    """Compare two audits on the images that both used; each is given by its ID and the digest of its weights.

    Raises:
        MeasurementError: an audit measured other weights, because the model was changed during the boost.
        UsageError: the audits cannot be paired.
    """
    first, second = (load_detail(trainings.engine, audit_id) for audit_id, _ in (before, after))
    for detail, (audit_id, digest) in ((first, before), (second, after)):
        if detail.row.weights_sha256 != digest:
            raise MeasurementError(
                f"audit {audit_id} measured other weights of {detail.row.model} than the training used: the model "
                "was changed during the boost; boost it again"
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
