"""The pages of boosts: the list, and one boost with its curves, its audits before and after, and its checkpoint."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.checkpoints.wording import recipe_words, verdict_words
from auditor.db.checkpoints import load_checkpoint
from auditor.db.trainings import list_trainings
from auditor.errors import NotFoundError
from auditor.records.checkpoints import CheckpointRow
from auditor.records.trainings import TrainingRow
from auditor.web.api.boosts import BoostToken, cancel_boost, load_boost
from auditor.web.api.common import Database, Number
from auditor.web.api.events import ACTIVE_STATES
from auditor.web.cleanup import end_dead_jobs
from auditor.web.figures.lines import Lines, curves
from auditor.web.pages.common import PageAccess, parse_form, render_page
from auditor.web.shapes.requests import BoostBody

router = APIRouter(dependencies=[Depends(end_dead_jobs)])


@dataclass(frozen=True)
class BoostsPage:
    """The newest hundred boosts, the newest first, each with its recipe as text."""

    boosts: tuple[tuple[TrainingRow, str], ...]


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
    newest = list_trainings(engine, kind="boost", limit=100)
    rows = tuple((row, recipe_words(row.request["recipe"])) for row in newest)
    return render_page(request, "boosts.html", BoostsPage(rows))


@router.post("/boosts")
def start(
    request: Request,
    _: BoostToken,
    model: Annotated[str, Form(max_length=200)],
    method: Annotated[str, Form(max_length=20)] = "",
    regularizer: Annotated[str, Form(max_length=20)] = "",
    epochs: Annotated[str, Form(max_length=9)] = "",
    protocol: Annotated[str, Form(max_length=20)] = "",
    samples: Annotated[str, Form(max_length=9)] = "",
) -> RedirectResponse:
    fields = {"model": model, "method": method, "regularizer": regularizer, "epochs": epochs}
    body = parse_form(BoostBody, {**fields, "protocol": protocol, "samples": samples})
    return RedirectResponse(f"/boosts/{request.app.state.background().start_boost(body)}", 303)


@router.post("/boosts/{number}/cancel")
def cancel(engine: Database, number: Number, owner: BoostToken) -> RedirectResponse:
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
