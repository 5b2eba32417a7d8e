"""The page that compares two models on their common samples."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Engine

from auditor.db.results import Filter, list_results, load_detail
from auditor.errors import UsageError
from auditor.results.comparison import compare, name_of
from auditor.web.api.common import Database
from auditor.web.audit_pictures import build_exclusive
from auditor.web.figures.samples import SampleTile
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
Name = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]
PER_PAGE = 12


@dataclass(frozen=True)
class Exclusive:
    """The samples that only one of the two withstands, with pictures from the file of ``broken``, the other one."""

    model: str
    broken: str
    numbers: tuple[int, ...]
    tiles: tuple[SampleTile, ...]
    pictures: int
    note: str


@dataclass(frozen=True)
class ComparisonPage:
    """``comparison`` is the result of the paired test; without one, ``error`` says why.

    ``exclusive``: what only A withstands, and only B; ``previous``, ``next``: links to more pictures.
    """

    a: str
    b: str
    models: tuple[str, ...]
    comparison: dict[str, Any] | None
    error: str | None
    exclusive: tuple[Exclusive, ...]
    previous: str | None
    next: str | None


@router.get("/compare", response_class=HTMLResponse)
def show_comparison(
    request: Request, engine: Database, _: PageAccess, a: Name = "", b: Name = "", page: PageNumber = 1
) -> HTMLResponse:
    comparison, problem, exclusive = None, None, list[Exclusive]()
    if a and b:
        try:
            comparison = compare(engine, a, b, None, samples=True)
            exclusive = [_exclusive(engine, comparison, side, page) for side in ("a", "b")]
        except UsageError as error:
            problem = str(error)
    rows = list_results(engine, Filter(status="done"), sort="model", limit=1000)
    models = tuple(dict.fromkeys(row.model for row in rows))
    most = max((one.pictures for one in exclusive), default=0)

    def link(number: int) -> str:
        return "?" + urlencode({"a": a, "b": b, "page": number}) + "#only"

    context = ComparisonPage(
        a=a,
        b=b,
        models=models,
        comparison=comparison,
        error=problem,
        exclusive=tuple(exclusive),
        previous=link(page - 1) if page > 1 else None,
        next=link(page + 1) if page * PER_PAGE < most else None,
    )
    return render_page(request, "compare.html", context, 422 if problem else 200)


def _exclusive(engine: Engine, comparison: dict[str, Any], side: str, page: int) -> Exclusive:
    other = "b" if side == "a" else "a"
    numbers = comparison["samples"][f"only_{side}"]
    tiles, count, note = build_exclusive(load_detail(engine, comparison[other]["id"]), numbers, page, PER_PAGE)
    return Exclusive(name_of(comparison[side]), name_of(comparison[other]), tuple(numbers), tiles, count, note)
