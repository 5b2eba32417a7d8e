"""What messages ask for: ids in, rows out."""

from auditor.jobs.queue import TASKS
from workers.app import app
from workers.process import current


@app.task(name=TASKS["audit"], Request="workers.request:Request")  # type: ignore[untyped-decorator]
def audit(audit_id: int) -> None:
    """Run one audit, unless another process has it or it has ended."""
    current().run(audit_id)


@app.task(name=TASKS["training"], Request="workers.request:Request")  # type: ignore[untyped-decorator]
def train(training_id: int) -> None:
    """Run one boost or adaptation, unless another process has it or it has ended."""
    current().train(training_id)
