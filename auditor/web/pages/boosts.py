"""Boosts: all of them, and one with its curves, its audits before and after, and its checkpoint."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.checkpoints.wording import recipe_words, verdict_words
from auditor.db.checkpoints import load_checkpoint
from auditor.db.trainings import list_trainings
from auditor.errors import UsageError
from auditor.web.api.boosts import Booster, cancel, find
from auditor.web.api.common import Database, Number
from auditor.web.api.events import GOING
from auditor.web.cleanup import tidy
from auditor.web.figures.lines import Lines, curves
from auditor.web.pages.common import Looking, asked_of, page
from auditor.web.shapes.requests import BoostBody

router = APIRouter(dependencies=[Depends(tidy)])


@dataclass(frozen=True)
class Boosts:
    """The newest hundred, the newest first, each with its recipe in words."""

    boosts: tuple[tuple[dict[str, Any], str], ...]


@dataclass(frozen=True)
class Boost:
    """``going``: whether it waits or runs; ``checkpoint`` and ``verdict`` are None until it has left one."""

    boost: dict[str, Any]
    going: bool
    recipe: str
    curves: tuple[Lines, ...]
    checkpoint: dict[str, Any] | None
    verdict: str | None


@router.get("/boosts", response_class=HTMLResponse)
def boosts(request: Request, engine: Database, _: Looking) -> HTMLResponse:
    newest = list_trainings(engine, kind="boost", limit=100)
    rows = tuple((row, recipe_words(row["request"]["recipe"])) for row in newest)
    return page(request, "boosts.html", Boosts(rows))


@router.post("/boosts")
def begin(
    request: Request,
    _: Booster,
    model: Annotated[str, Form(max_length=200)],
    method: Annotated[str, Form(max_length=20)] = "",
    regularizer: Annotated[str, Form(max_length=20)] = "",
    epochs: Annotated[str, Form(max_length=9)] = "",
    protocol: Annotated[str, Form(max_length=20)] = "",
    samples: Annotated[str, Form(max_length=9)] = "",
) -> RedirectResponse:
    fields = {"model": model, "method": method, "regularizer": regularizer, "epochs": epochs}
    asked = asked_of(BoostBody, {**fields, "protocol": protocol, "samples": samples})
    return RedirectResponse(f"/boosts/{request.app.state.work().boost(asked)}", 303)


@router.post("/boosts/{number}/cancel")
def end(engine: Database, number: Number, bearer: Booster) -> RedirectResponse:
    cancel(engine, number, bearer)
    return RedirectResponse(f"/boosts/{number}", 303)


@router.get("/boosts/{number}", response_class=HTMLResponse)
def boost(request: Request, engine: Database, _: Looking, number: Number) -> HTMLResponse:
    row = find(engine, number)
    try:
        made = load_checkpoint(engine, number)
    except UsageError:
        made = None
    accuracies = {"pgd_accuracy": "PGD-20 accuracy", "clean_accuracy": "clean accuracy"}
    drawn = (
        curves(row["history"], accuracies, "validation, by epoch"),
        curves(row["history"], {"gap": "gap of C"}, "gap of C, by epoch"),
        curves(row["history"], {"loss": "training loss"}, "training loss, by epoch"),
    )
    context = Boost(
        boost=row,
        going=row["state"] in GOING,
        recipe=recipe_words(row["request"]["recipe"]),
        curves=tuple(one for one in drawn if one is not None),
        checkpoint=made,
        verdict=verdict_words(made) if made else None,
    )
    return page(request, "boost.html", context)
