"""The page of schedules with their next and last runs."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.web.api.common import Database
from auditor.web.api.schedules import load_schedules
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()


@dataclass(frozen=True)
class SchedulesPage:
    """All schedules by name."""

    schedules: tuple[dict[str, Any], ...]


@router.get("/schedules", response_class=HTMLResponse)
def show_schedules(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return render_page(request, "schedules.html", SchedulesPage(tuple(load_schedules(engine))))
