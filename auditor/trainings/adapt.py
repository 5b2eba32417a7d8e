"""An adaptation from claim to stored row. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.db.trainings import TrainingJob, Trainings
from auditor.errors import UsageError
from auditor.jobs.lease import LeaseHandle
from auditor.records import JobContext
from auditor.records.adaptations import AdaptRequest, AdaptTask, request_from, request_to
from auditor.records.boosts import TRAINING_SECONDS
from auditor.trainings.job import Run, TrainingAttempt

ADAPT = "auditor.adapt.task.adapt_model"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AdaptJobRequest:
    """All that an adaptation asks for, so that another process, on another machine, can do it.

    ``folder``: of the model's zoo; ``data``: where the data set lies; ``seconds`` of wall time that it may take.
    """

    adapt: AdaptRequest
    device: str = "cpu"
    data: Path | None = None
    folder: str | None = None
    trust_code: bool = False
    seconds: float = TRAINING_SECONDS

    @property
    def place(self) -> Path | None:
        return None if self.folder is None else Path(self.folder)

    def to_json(self) -> Row:
        data = None if self.data is None else str(self.data)
        same = {name: getattr(self, name) for name in ("device", "folder", "trust_code", "seconds")}
        return {"adapt": request_to(self.adapt), "data": data, **same}

    @classmethod
    def from_json(cls, stored: Row) -> "AdaptJobRequest":
        """Raises UsageError where another auditor kept something else."""
        try:
            same = {name: stored[name] for name in ("device", "folder", "trust_code", "seconds")}
            data = None if stored["data"] is None else Path(stored["data"])
            return cls(adapt=request_from(stored["adapt"]), data=data, **same)
        except KeyError as error:
            raise UsageError(f"the adaptation was asked of another version of auditor ({error}): ask again") from error


class AdaptAttempt(TrainingAttempt[Row]):
    """One attempt at one adaptation."""

    def __init__(self, trainings: Trainings, job: TrainingJob, request: AdaptJobRequest, run: Run) -> None:
        super().__init__(trainings, job)
        self.request, self.run = request, run

    def work(self, handle: LeaseHandle) -> Row:
        entry = self.job.entry
        source = None if entry is None else self.run.open_source(entry, self.request)
        self.run.reporter.stage(f"adaptation of {self.job.model}")

        def progress(part: str, done: int, total: int) -> None:
            handle.progress(part, done, total)
            self.run.reporter.part(self.job.model, part, done, total)

        task = AdaptTask(adapt=self.request.adapt, data=self.request.data, device=self.request.device)
        context = JobContext(progress=progress, stopped=handle.check)
        found: Row = self.run.child(ADAPT, self.request.seconds, None)(source, entry, task, context)
        return found

    def store_result(self, found: Row) -> str:
        stored = self.trainings.finish_adaptation(self.job_id, self.attempt, found, self.seconds)
        return "done" if stored else "taken"
