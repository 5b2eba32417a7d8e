"""What messages ask for: ids in, rows out."""

from auditor.dispatch import TASK
from workers.app import app
from workers.process import current


@app.task(name=TASK, Request="workers.request:Request")  # type: ignore[untyped-decorator]
def audit(audit_id: int) -> None:
    """Run one audit, unless another process has it or it has ended."""
    current().run(audit_id)
