"""Schedules: what runs when, and what became of it."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.web.api.common import Database
from auditor.web.api.schedules import rows
from auditor.web.pages.common import Looking, page

router = APIRouter()


@dataclass(frozen=True)
class Schedules:
    """All of them by name."""

    schedules: tuple[dict[str, Any], ...]


@router.get("/schedules", response_class=HTMLResponse)
def schedules(request: Request, engine: Database, _: Looking) -> HTMLResponse:
    return page(request, "schedules.html", Schedules(tuple(rows(engine))))
