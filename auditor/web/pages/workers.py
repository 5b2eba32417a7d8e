"""The page of workers and their queues."""

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from auditor.db.workers import list_queues, list_workers
from auditor.records.workers import QueueRow, WorkerRow
from auditor.web.api.common import Database
from auditor.web.cleanup import end_dead_jobs
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter(dependencies=[Depends(end_dead_jobs)])


@dataclass(frozen=True)
class WorkersPage:
    """The workers' queues, and every process that runs audits and trainings with its job."""

    queues: tuple[QueueRow, ...]
    workers: tuple[WorkerRow, ...]


@router.get("/workers", response_class=HTMLResponse)
def show_workers(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return render_page(request, "workers.html", WorkersPage(tuple(list_queues(engine)), tuple(list_workers(engine))))
