"""Two models on the samples that they share."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.results import Filter, list_results
from auditor.errors import UsageError
from auditor.results.comparison import compare
from auditor.web.api.common import Database
from auditor.web.pages.common import Looking, page

router = APIRouter()
Name = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Comparison:
    """``found`` is what the paired test says; ``problem`` why there is none."""

    a: str
    b: str
    models: tuple[str, ...]
    found: dict[str, Any] | None
    problem: str | None


@router.get("/compare", response_class=HTMLResponse)
def comparison(request: Request, engine: Database, _: Looking, a: Name = "", b: Name = "") -> HTMLResponse:
    found, problem = None, None
    if a and b:
        try:
            found = compare(engine, a, b, None)
        except UsageError as error:
            problem = str(error)
    rows = list_results(engine, Filter(status="done"), sort="model", limit=1000)
    models = tuple(dict.fromkeys(row.model for row in rows))
    return page(request, "compare.html", Comparison(a, b, models, found, problem), 422 if problem else 200)
