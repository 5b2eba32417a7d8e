"""Runs a stored boost or adaptation, whichever it is."""

from typing import Any

from auditor.adapt_job import AdaptDesk, AdaptJobRequest
from auditor.boost_job import BoostDesk, BoostRequest
from auditor.db.trainings import Kind, TrainingJob, Trainings
from auditor.training_job import Run


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
        return BoostDesk(trainings, job, BoostRequest.from_json(job.request), run).carry_out(run.heart)
    return AdaptDesk(trainings, job, AdaptJobRequest.from_json(job.request), run).carry_out(run.heart)
