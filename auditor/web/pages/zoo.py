"""The page of the zoo plot: any two measures of the models of one setting."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator, Field

from auditor.db.plot_models import count_settings, list_plot_models
from auditor.results.measures import PLOTTED
from auditor.results.ranking import describe_setting
from auditor.web.api.common import Database
from auditor.web.figures.zoo import NARROWEST, WIDEST, WIDTH, View, Window, ZooPlot, zoo_plot
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
MOST = 2000
Grouping = Literal["training", "architecture", "source"]
Axis = Literal[tuple(PLOTTED)]  # type: ignore[valid-type]
End = Annotated[
    Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] | None,
    BeforeValidator(lambda text: text or None),  # forms send empty fields
    Query(),
]


@dataclass(frozen=True)
class ZooPage:
    """``setting`` is the one of the plot; ``settings`` are all, those with most models first.

    ``problem``: why there is no plot under the setting of the address.
    ``query``: the parameters of this page, without empty ones and the width; ``newest``: how many models are drawn if
    the setting has more, otherwise None.
    """

    plot: ZooPlot | None
    x: str
    y: str
    by: str
    settings: tuple[str, ...]
    setting: str
    find: str
    window: Window
    hidden: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    newest: int | None
    problem: str | None = None
    measures: tuple[tuple[str, str], ...] = tuple((key, measure.name) for key, measure in PLOTTED.items())
    groupings: tuple[str, ...] = ("training", "architecture", "source")

    @property
    def zoomed(self) -> bool:
        """Whether only a part of the plot is drawn."""
        return self.window != Window()

    def link_toggling(self, group: str) -> str:
        """Link to this page with a group hidden, or shown again."""
        kept = [pair for pair in self.query if pair != ("hide", group)]
        return _link(kept if len(kept) < len(self.query) else [*kept, ("hide", group)])

    @property
    def link_to_all(self) -> str:
        """Link to this page with the whole plot."""
        return _link([pair for pair in self.query if not pair[0].endswith(("_from", "_to"))])


def _link(query: list[tuple[str, str]]) -> str:
    return f"/zoo?{urlencode(query)}" if query else "/zoo"


@router.get("/zoo", response_class=HTMLResponse)
def show_zoo(
    request: Request,
    engine: Database,
    _: PageAccess,
    setting: Annotated[str, Query(max_length=300)] = "",
    x: Axis = "gap",  # type: ignore[valid-type]
    y: Axis = "robust_accuracy",  # type: ignore[valid-type]
    by: Grouping = "training",
    hide: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006
    find: Annotated[str, Query(max_length=200)] = "",
    x_from: End = None,
    x_to: End = None,
    y_from: End = None,
    y_to: End = None,
    width: Annotated[int, Query(ge=NARROWEST, le=WIDEST)] = WIDTH,
) -> HTMLResponse:
    settings = {describe_setting(one): (one, count) for one, count in count_settings(engine, x, y).items()}
    problem = None
    if setting and settings and setting not in settings:
        problem = f"No model has {PLOTTED[x].name} and {PLOTTED[y].name} under {setting!r}. Choose another setting."
    chosen = setting or next(iter(settings), "")
    key, count = settings.get(chosen, (None, 0))
    window = Window(x_from, x_to, y_from, y_to)
    plot = None
    if key is not None:
        models = list_plot_models(engine, key, x, y, MOST)
        plot = zoo_plot(models, x, y, View(by, window, frozenset(hide), find.strip(), width))
    context = ZooPage(
        plot=plot,
        x=x,
        y=y,
        by=by,
        settings=tuple(settings),
        setting=chosen,
        find=find,
        window=window,
        hidden=tuple(hide),
        query=tuple(pair for pair in request.query_params.multi_items() if pair[1] and pair[0] != "width"),
        newest=MOST if count > MOST else None,
        problem=problem,
    )
    return render_page(request, "zoo.html", context, 422 if problem else 200)
