"""An adaptation as a job: its request, and its attempts from claim to stored row. No torch."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from auditor.db.trainings import TrainingJob, Trainings
from auditor.jobs.heartbeat import LeaseHandle
from auditor.jobs.stored_requests import load_request
from auditor.jobs.tasks import run_adaptation
from auditor.records import JobContext
from auditor.records.adaptations import AdaptRequest, AdaptTask
from auditor.records.boosts import TRAINING_SECONDS
from auditor.records.json import to_json
from auditor.trainings.job import TrainingAttempt, TrainingExecutor

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AdaptJobRequest:
    """Everything that a process, perhaps on another machine, needs to run an adaptation.

    ``data``: the folder of the data set; ``folder``: that of the model's zoo; ``seconds``: the limit of wall time.
    """

    adapt: AdaptRequest
    data: Path | None = None
    device: str = "cpu"
    folder: str | None = None
    trust_code: bool = False
    seconds: float = TRAINING_SECONDS

    @property
    def place(self) -> Path | None:
        return None if self.folder is None else Path(self.folder)

    def to_json(self) -> Row:
        return to_json(self)

    @classmethod
    def from_json(cls, stored: Row) -> "AdaptJobRequest":
        """Raises UsageError if another version of auditor stored the request."""
        return load_request(cls, stored, "adaptation", [field.name for field in fields(cls)])


class AdaptAttempt(TrainingAttempt[Row]):
    """One attempt at one adaptation."""

    def __init__(
        self, trainings: Trainings, job: TrainingJob, request: AdaptJobRequest, executor: TrainingExecutor
    ) -> None:
        super().__init__(trainings, job, executor)
        self.request = request

    def work(self, handle: LeaseHandle) -> Row:
        entry, request, reporter = self.job.entry, self.request, self.executor.reporter
        source = None if entry is None else self.executor.open_source(entry, request)
        reporter.stage(f"adaptation of {self.job.model}")

        def progress(part: str, done: int, total: int) -> None:
            handle.progress(part, done, total)
            reporter.part(self.job.model, part, done, total)

        task = AdaptTask(adapt=request.adapt, data=request.data, device=request.device)
        context = JobContext(progress=progress, stopped=handle.check)
        return self.executor.make_child(run_adaptation, request.seconds, None)(source, entry, task, context)

    def store_result(self, result: Row) -> str:
        stored = self.trainings.finish_adaptation(self.job_id, self.attempt, result, self.seconds)
        return "done" if stored else "taken"
