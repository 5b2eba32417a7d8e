"""The page that compares two models on their common samples."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.results import Filter, list_results
from auditor.errors import UsageError
from auditor.results.comparison import compare
from auditor.web.api.common import Database
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
Name = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class ComparisonPage:
    """``comparison`` is the result of the paired test; without one, ``error`` says why."""

    a: str
    b: str
    models: tuple[str, ...]
    comparison: dict[str, Any] | None
    error: str | None


@router.get("/compare", response_class=HTMLResponse)
def show_comparison(request: Request, engine: Database, _: PageAccess, a: Name = "", b: Name = "") -> HTMLResponse:
    comparison, problem = None, None
    if a and b:
        try:
            comparison = compare(engine, a, b, None)
        except UsageError as error:
            problem = str(error)
    rows = list_results(engine, Filter(status="done"), sort="model", limit=1000)
    models = tuple(dict.fromkeys(row.model for row in rows))
    context = ComparisonPage(a, b, models, comparison, problem)
    return render_page(request, "compare.html", context, 422 if problem else 200)
