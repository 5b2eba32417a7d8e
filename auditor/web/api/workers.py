"""The route of workers and their queues."""

from typing import Any

from fastapi import Depends

from auditor.db.workers import list_queues, list_workers
from auditor.web.api.common import Database, make_router, response_options
from auditor.web.cleanup import end_dead_jobs
from auditor.web.shapes import jobs as shapes

router = make_router("workers", dependencies=[Depends(end_dead_jobs)])


@router.get("/workers", **response_options(shapes.Workers))
def get_workers(engine: Database) -> dict[str, Any]:
    """List the processes that run audits and trainings with their jobs, and the workers' queues.

    A process whose queue is `here` runs a scan of its own. The list has no pages: it is as long as the processes are
    many.
    """
    return {"workers": list_workers(engine), "queues": list_queues(engine)}
