"""The Celery tasks: each takes the ID of a job and stores its result."""

from auditor.jobs.queue import TASKS
from workers.app import app
from workers.process import current_process


@app.task(name=TASKS["audit"], Request="workers.acknowledgement:Request")  # type: ignore[untyped-decorator]
def audit(audit_id: int) -> None:
    """Run one audit, unless another process has claimed it or it has ended."""
    current_process().run_audit(audit_id)


@app.task(name=TASKS["training"], Request="workers.acknowledgement:Request")  # type: ignore[untyped-decorator]
def train(training_id: int) -> None:
    """Run one boost or adaptation, unless another process has claimed it or it has ended."""
    current_process().run_training(training_id)
