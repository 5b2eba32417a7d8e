"""The pages of boosts: the list, and one boost with its curves, its audits before and after, and its checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from auditor.checkpoints.wording import recipe_words, verdict_words
from auditor.db.checkpoints import load_checkpoint
from auditor.db.tokens import Bearer
from auditor.errors import AuditorError, NotFoundError, one_line
from auditor.records.checkpoints import CheckpointRow
from auditor.records.scans import ACTIVE_STATES
from auditor.records.trainings import TrainingRow
from auditor.web.api.boosts import resume_boost
from auditor.web.api.common import Cursor, Database, Number
from auditor.web.api.trainings import cancel_job, load_job, load_page
from auditor.web.cleanup import end_dead_jobs
from auditor.web.errors import status_of
from auditor.web.figures.lines import Lines, curves
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import Fields, FormState, parse_form, require_sign_in
from auditor.web.shapes.requests import BoostBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])
ROWS = 50
Owner = Annotated[Bearer, Depends(require_sign_in("boost", "/boosts/{number}"))]


@dataclass(frozen=True)
class BoostsPage:
    """A page of boosts, the newest first, each with its recipe as text, and the form that starts one.

    ``next``: the cursor of the next page.
    """

    boosts: tuple[tuple[TrainingRow, str], ...]
    next: str | None
    form: FormState


@dataclass(frozen=True)
class BoostPage:
    """One boost; ``message`` says why an action was refused; without a checkpoint, ``verdict`` is None, too."""

    boost: TrainingRow
    active: bool
    resumable: bool
    recipe: str
    curves: tuple[Lines, ...]
    checkpoint: CheckpointRow | None
    verdict: str | None
    message: str | None = None


@router.get("/boosts", response_class=HTMLResponse)
def show_boosts(request: Request, engine: Database, _: PageAccess, cursor: Cursor = None) -> HTMLResponse:
    return _render_boosts(request, engine, FormState.from_query(request), cursor=cursor)


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
def cancel(engine: Database, number: Number, owner: Owner) -> RedirectResponse:
    cancel_job(engine, "boost", number, owner)
    return RedirectResponse(f"/boosts/{number}", 303)


@router.post("/boosts/{number}/resume")
def resume(request: Request, engine: Database, number: Number, owner: Owner) -> Response:
    try:
        resume_boost(request, engine, number, owner)
    except NotFoundError:
        raise
    except AuditorError as error:
        return _render_boost(request, engine, number, one_line(str(error)), status_of(error))
    return RedirectResponse(f"/boosts/{number}", 303)


@router.get("/boosts/{number}", response_class=HTMLResponse)
def show_boost(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    return _render_boost(request, engine, number)


def boost_curves(history: Sequence[dict[str, Any]]) -> tuple[Lines, ...]:
    """Plot the epochs of a boost: validation accuracy, gap and loss."""
    accuracies = {"pgd_accuracy": "PGD-20 accuracy", "clean_accuracy": "clean accuracy"}
    plots = (
        curves(history, accuracies, "validation, by epoch"),
        curves(history, {"gap": "gap of C"}, "gap of C, by epoch"),
        curves(history, {"loss": "training loss"}, "training loss, by epoch"),
    )
    return tuple(plot for plot in plots if plot is not None)


def _render_boosts(
    request: Request, engine: Engine, form: FormState, status: int = 200, cursor: str | None = None
) -> HTMLResponse:
    newest, following = load_page(engine, "boost", ROWS, cursor)
    rows = tuple((row, recipe_words(row.request["recipe"])) for row in newest)
    return render_page(request, "boosts.html", BoostsPage(rows, following, form), status)


def _render_boost(
    request: Request, engine: Engine, number: int, message: str | None = None, status: int = 200
) -> HTMLResponse:
    row = load_job(engine, "boost", number)
    try:
        checkpoint = load_checkpoint(engine, number)
    except NotFoundError:
        checkpoint = None
    context = BoostPage(
        boost=row,
        active=row.state in ACTIVE_STATES,
        resumable=row.state in ("failed", "cancelled"),
        recipe=recipe_words(row.request["recipe"]),
        curves=boost_curves(row.history),
        checkpoint=checkpoint,
        verdict=verdict_words(checkpoint) if checkpoint else None,
        message=message,
    )
    return render_page(request, "boost.html", context, status)
