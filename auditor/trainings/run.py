"""Runs a stored boost or adaptation, whichever it is, or sends it to workers."""

from typing import Any

from auditor.config import settings
from auditor.db.leases import Unsent
from auditor.db.trainings import Kind, TrainingJob, Trainings
from auditor.jobs.lease import Heartbeat
from auditor.records import ZooEntry
from auditor.trainings.adapt import AdaptAttempt, AdaptJobRequest
from auditor.trainings.boost import BoostAttempt, BoostRequest
from auditor.trainings.job import Place, Run, TrainingReporter


def check_request(kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
    """A stored request, as it is.

    Raises:
        UsageError: it was asked of another version of auditor.
    """
    BoostRequest.from_json(request) if kind == "boost" else AdaptJobRequest.from_json(request)
    return request


def run_training(trainings: Trainings, job: TrainingJob, run: Run) -> str:
    """Returns ``done``, ``taken``, ``cancelled`` or ``failed: REASON``.

    Raises:
        UsageError: what was asked for was asked of another version of auditor.
    """
    if job.kind == "boost":
        return BoostAttempt(trainings, job, BoostRequest.from_json(job.request), run).carry_out(run.heartbeat)
    return AdaptAttempt(trainings, job, AdaptJobRequest.from_json(job.request), run).carry_out(run.heartbeat)


def run_locally(trainings: Trainings, job: TrainingJob, reporter: TrainingReporter) -> str:
    """Run a queued job in this process and its children; what it returns is what :func:`run_training` does."""
    from auditor.jobs.child import ChildProcess
    from auditor.jobs.limits import Limits
    from auditor.machine.devices import share_of_threads
    from auditor.zoo import Source, find_source

    threads = settings().threads or share_of_threads(1)

    def child(task: str, seconds: float, memory: int | None) -> ChildProcess:
        return ChildProcess(limits=Limits.share(seconds, memory), task=task, threads=threads)

    def source(entry: ZooEntry, request: Place) -> Source:
        return find_source(entry.source, request.place, trust_code=request.trust_code)

    heartbeat = Heartbeat(trainings.engine, queue="here", device=job.request["device"], lease=settings().lease_seconds)
    with heartbeat:
        return run_training(trainings, job, Run(source, child, heartbeat, reporter))


def send_training(trainings: Trainings, job: TrainingJob, queue: str) -> None:
    """Send a stored job's id to workers.

    Raises:
        EnvironmentUnusableError: the broker does not answer; a worker's reaper will send it.
    """
    from auditor.jobs.queue import send

    trainings.leases.mark_sent([job.training_id])
    send([Unsent(job.training_id, job.request["seconds"], "training")], queue)
