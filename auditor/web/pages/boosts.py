"""The pages of boosts: the list, and one boost with its curves, its audits before and after, and its checkpoint."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from auditor.checkpoints.wording import recipe_words, verdict_words
from auditor.db.checkpoints import load_checkpoint
from auditor.db.tokens import Bearer
from auditor.db.trainings import list_trainings
from auditor.errors import AuditorError, NotFoundError
from auditor.records.checkpoints import CheckpointRow
from auditor.records.trainings import TrainingRow
from auditor.web.api.boosts import cancel_boost, load_boost
from auditor.web.api.common import Database, Number
from auditor.web.api.events import ACTIVE_STATES
from auditor.web.cleanup import end_dead_jobs
from auditor.web.errors import status_of
from auditor.web.figures.lines import Lines, curves
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import Fields, FormState, parse_form, require_sign_in
from auditor.web.shapes.requests import BoostBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])


@dataclass(frozen=True)
class BoostsPage:
    """The newest hundred boosts, the newest first, each with its recipe as text, and the form that starts one."""

    boosts: tuple[tuple[TrainingRow, str], ...]
    form: FormState


@dataclass(frozen=True)
class BoostPage:
    """``active`` says whether the boost is queued or running; without a checkpoint, ``verdict`` is None, too."""

    boost: TrainingRow
    active: bool
    recipe: str
    curves: tuple[Lines, ...]
    checkpoint: CheckpointRow | None
    verdict: str | None


@router.get("/boosts", response_class=HTMLResponse)
def show_boosts(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return _render_boosts(request, engine, FormState.from_query(request))


@router.post("/boosts")
def start(
    request: Request,
    engine: Database,
    _: Annotated[Bearer, Depends(require_sign_in("boost", "/boosts"))],
    fields: Fields,
) -> Response:
    try:
        number = request.app.state.background().start_boost(parse_form(BoostBody, fields))
    except AuditorError as error:
        form = FormState.from_error(fields, error, names="model")
        return _render_boosts(request, engine, form, status_of(error))
    return RedirectResponse(f"/boosts/{number}", 303)


@router.post("/boosts/{number}/cancel")
def cancel(
    engine: Database,
    number: Number,
    owner: Annotated[Bearer, Depends(require_sign_in("boost", "/boosts/{number}"))],
) -> RedirectResponse:
    cancel_boost(engine, number, owner)
    return RedirectResponse(f"/boosts/{number}", 303)


@router.get("/boosts/{number}", response_class=HTMLResponse)
def show_boost(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    row = load_boost(engine, number)
    try:
        checkpoint = load_checkpoint(engine, number)
    except NotFoundError:
        checkpoint = None
    accuracies = {"pgd_accuracy": "PGD-20 accuracy", "clean_accuracy": "clean accuracy"}
    plots = (
        curves(row.history, accuracies, "validation, by epoch"),
        curves(row.history, {"gap": "gap of C"}, "gap of C, by epoch"),
        curves(row.history, {"loss": "training loss"}, "training loss, by epoch"),
    )
    context = BoostPage(
        boost=row,
        active=row.state in ACTIVE_STATES,
        recipe=recipe_words(row.request["recipe"]),
        curves=tuple(plot for plot in plots if plot is not None),
        checkpoint=checkpoint,
        verdict=verdict_words(checkpoint) if checkpoint else None,
    )
    return render_page(request, "boost.html", context)


def _render_boosts(request: Request, engine: Engine, form: FormState, status: int = 200) -> HTMLResponse:
    newest = list_trainings(engine, kind="boost", limit=100)
    rows = tuple((row, recipe_words(row.request["recipe"])) for row in newest)
    return render_page(request, "boosts.html", BoostsPage(rows, form), status)
