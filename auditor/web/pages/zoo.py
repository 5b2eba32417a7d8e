"""The zoo plot: gap against robust accuracy of one setting."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.results import Filter, list_results
from auditor.results.ranking import describe_setting, setting_of
from auditor.web.api.common import Database
from auditor.web.figures.zoo import ZooPlot, zoo_plot
from auditor.web.pages.common import Looking, page

router = APIRouter()
MOST = 2000


@dataclass(frozen=True)
class Zoo:
    """``setting``: the one drawn, of the ``settings`` that there are, those of most models first."""

    plot: ZooPlot | None
    by: str
    settings: tuple[str, ...]
    setting: str


@router.get("/zoo", response_class=HTMLResponse)
def zoo(
    request: Request,
    engine: Database,
    _: Looking,
    setting: Annotated[str, Query(max_length=300)] = "",
    by: Literal["training", "architecture"] = "training",
) -> HTMLResponse:
    rows = list_results(engine, Filter(status="done"), sort="-started_at", limit=MOST)
    rows = [row for row in rows if row.gap_and_accuracy is not None]
    found = Counter(describe_setting(setting_of(row)) for row in rows)
    settings = tuple(name for name, _ in found.most_common())
    chosen = setting if setting in found else next(iter(settings), "")
    plot = zoo_plot([row for row in rows if describe_setting(setting_of(row)) == chosen], by)
    return page(request, "zoo.html", Zoo(plot, by, settings, chosen))
