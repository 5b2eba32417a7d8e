"""Runs a stored boost or adaptation in this process, or sends it to workers."""

from typing import Any

from auditor.config import settings
from auditor.db.leases import Unsent
from auditor.db.trainings import TrainingJob, Trainings
from auditor.jobs.child import ChildFactory
from auditor.jobs.heartbeat import Heartbeat
from auditor.records import LOCAL_QUEUE, ZooEntry
from auditor.records.trainings import Kind
from auditor.trainings.adapt import AdaptAttempt, AdaptJobRequest
from auditor.trainings.boost import BoostAttempt, BoostRequest
from auditor.trainings.job import TrainingExecutor, TrainingReporter, ZooLocation
from auditor.zoo import Source, find_source


def check_request(kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
    """Return a stored request unchanged.

    Raises:
        UsageError: another version of auditor stored the request.
    """
    BoostRequest.from_json(request) if kind == "boost" else AdaptJobRequest.from_json(request)
    return request


def run_training(trainings: Trainings, job: TrainingJob, executor: TrainingExecutor) -> str:
    """Run a training; returns ``done``, ``taken``, ``cancelled`` or ``failed: REASON``.

    Raises:
        UsageError: another version of auditor stored the request.
    """
    if job.kind == "boost":
        return BoostAttempt(trainings, job, BoostRequest.from_json(job.request), executor).run()
    return AdaptAttempt(trainings, job, AdaptJobRequest.from_json(job.request), executor).run()


def run_locally(trainings: Trainings, job: TrainingJob, reporter: TrainingReporter) -> str:
    """Run a queued training in this process and its children; returns as :func:`run_training`."""

    def open_source(entry: ZooEntry, request: ZooLocation) -> Source:
        return find_source(entry.source, request.place, trust_code=request.trust_code)

    device, lease = job.request["device"], settings().lease_seconds
    with Heartbeat(trainings.engine, queue=LOCAL_QUEUE, device=device, lease=lease) as heartbeat:
        executor = TrainingExecutor(
            open_source=open_source,
            make_child=ChildFactory(threads=settings().threads),
            heartbeat=heartbeat,
            reporter=reporter,
        )
        return run_training(trainings, job, executor)


def send_training(trainings: Trainings, job: TrainingJob, queue: str) -> None:
    """Send a stored job's ID to workers.

    Raises:
        EnvironmentUnusableError: the broker does not answer; a worker's reaper will send the ID.
    """
    from auditor.jobs.queue import send_queued

    send_queued(trainings.leases, [Unsent(job.training_id, job.request["seconds"], "training")], queue)
