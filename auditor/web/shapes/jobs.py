"""The shapes of scans, boosts, checkpoints and schedules."""

from datetime import datetime
from typing import Literal

from auditor.records import checkpoints, scans, schedules, trainings, workers
from auditor.records.boosts import EpochScore, Recipe
from auditor.web.shapes import Next, Shape, Share, shape_of

Time = datetime | None


class Scan(shape_of(scans.ScanRow, started_at=datetime, finished_at=Time, silent_since=Time)):  # type: ignore[misc]
    """A scan, with the number of its audits in each state.

    `silent_since`: the last sign of life of a process that runs one of its audits, if it is longer ago than expected.
    `unserved`: audits are queued, and no worker with a recent heartbeat serves their queue. `seconds_left` is an
    estimate from its done audits.
    """


class Scans(Shape):
    scans: list[Scan]
    next: Next


class ScanAudit(shape_of(scans.ScanAudit, started_at=Time, finished_at=Time, silent_since=Time)):  # type: ignore[misc]
    """One audit of a scan. While it runs, `part` names the present part, with `part_done` of `part_total` steps.

    `silent_since` is the last sign of life of its process, if it is longer ago than expected.
    """


class ScanDetail(Scan):
    audits: list[ScanAudit]


_EPOCH = {"loss": float | None, "clean_accuracy": Share, "pgd_accuracy": Share, "gap": float | None}


class Epoch(shape_of(EpochScore, **_EPOCH)):  # type: ignore[misc]
    """The validation scores after one epoch; number 0 is the model before training."""


_TIMES = {"silent_since": Time, "queued_at": datetime, "started_at": Time, "finished_at": Time}
_OF_A_KIND = ("kind", "history", "request", "result")


class TrainingJob(shape_of(trainings.TrainingRow, omit=_OF_A_KIND, **_TIMES)):  # type: ignore[misc]
    """What boosts and adaptations share. While the job runs, `part` is its present part."""


class Boost(TrainingJob):
    """A boost. `history` lists its epochs so far."""

    recipe: Recipe
    protocol: str
    samples: int | None
    device: str
    history: list[Epoch]


class Boosts(Shape):
    boosts: list[Boost]
    next: Next


_SHARES = dict.fromkeys(("clean_accuracy", "robust_accuracy", "robust_low", "robust_high"), Share | None)


class AuditSummary(shape_of(checkpoints.AuditSummary, **_SHARES)):  # type: ignore[misc]
    """The result of the audit before or after a boost."""


class Gain(shape_of(checkpoints.Gain, p_value=Share)):  # type: ignore[misc]
    """Robust accuracy after minus before on the images of both audits, its 95 % interval, and McNemar's p."""


_CHECKPOINT = {
    "recipe": Recipe, "history": list[Epoch], "before": AuditSummary | None, "after": AuditSummary | None,
    "comparison": Gain | None, "created_at": datetime,
}  # fmt: skip


class Checkpoint(shape_of(checkpoints.CheckpointRow, omit=("folder",), **_CHECKPOINT)):  # type: ignore[misc]
    """The checkpoint of a boost, with the audits before and after."""


class Checkpoints(Shape):
    checkpoints: list[Checkpoint]
    next: Next


class CheckpointDetail(Checkpoint):
    """A checkpoint. `file_sha256` is the digest of its weights file."""

    file_sha256: str


class LastRun(shape_of(schedules.LastRun)):  # type: ignore[misc]
    pass


class Schedule(shape_of(schedules.ScheduleRow, last=LastRun | None)):  # type: ignore[misc]
    """A schedule. `next` is its next due time; null if it is disabled or has a problem.

    `problem` says why it can never run, and is null otherwise.
    """


class Schedules(Shape):
    schedules: list[Schedule]


_OF_WORKER = {"started_at": datetime, "seen_at": datetime, "silent_since": Time, "job_started_at": Time}


class Worker(shape_of(workers.WorkerRow, audit_started_at=Time, **_OF_WORKER)):  # type: ignore[misc]
    """A process that runs audits and trainings, with its current job.

    `silent_since` is the time of its last heartbeat, if it is longer ago than expected.
    """


class Queue(shape_of(workers.QueueRow)):  # type: ignore[misc]
    """A queue: its queued and running jobs, the longest wait in seconds, and the workers with a recent heartbeat.

    `unserved`: jobs wait, and there is no such worker.
    """


class Workers(Shape):
    workers: list[Worker]
    queues: list[Queue]


class Health(Shape):
    """The server and its database respond."""

    status: Literal["ok"]
    version: str
