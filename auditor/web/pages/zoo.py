"""The page of the zoo plot: a measure against robust accuracy in one setting."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.results import Filter, list_results
from auditor.records.results import Measure
from auditor.results.association import NAMES
from auditor.results.ranking import describe_setting, setting_of
from auditor.web.api.common import Database
from auditor.web.figures.zoo import ZooPlot, zoo_plot
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
ROWS = 2000


@dataclass(frozen=True)
class ZooPage:
    """``setting`` is the one of the plot; ``settings`` are all, those with most models first."""

    plot: ZooPlot | None
    by: str
    measure: Measure
    settings: tuple[str, ...]
    setting: str
    measures: tuple[tuple[str, str], ...] = tuple(NAMES.items())


@router.get("/zoo", response_class=HTMLResponse)
def show_zoo(
    request: Request,
    engine: Database,
    _: PageAccess,
    setting: Annotated[str, Query(max_length=300)] = "",
    by: Literal["training", "architecture"] = "training",
    x: Measure = "gap",
) -> HTMLResponse:
    rows = list_results(engine, Filter(status="done"), sort="-started_at", limit=ROWS)
    rows = [row for row in rows if row.point(x) is not None]
    counts = Counter(describe_setting(setting_of(row)) for row in rows)
    settings = tuple(name for name, _ in counts.most_common())
    chosen = setting if setting in counts else next(iter(settings), "")
    plot = zoo_plot([row for row in rows if describe_setting(setting_of(row)) == chosen], by, x)
    return render_page(request, "zoo.html", ZooPage(plot, by, x, settings, chosen))
