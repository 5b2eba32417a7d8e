"""The page of schedules with their next and last runs."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.records.schedules import ScheduleRow
from auditor.scheduling.due import load_schedules
from auditor.web.api.common import Database
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()


@dataclass(frozen=True)
class SchedulesPage:
    """All schedules by name."""

    schedules: tuple[ScheduleRow, ...]


@router.get("/schedules", response_class=HTMLResponse)
def show_schedules(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return render_page(request, "schedules.html", SchedulesPage(tuple(load_schedules(engine))))
