"""Boosts: all of them, and one with its curves, its audits before and after, and its checkpoint."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.checkpoints.words import recipe_words, verdict_words
from auditor.db.checkpoints import load_checkpoint
from auditor.db.trainings import list_trainings
from auditor.errors import UsageError
from auditor.leaderboard.groups import Row
from auditor.web.api.boosts import find
from auditor.web.api.common import Database, Number
from auditor.web.figures.lines import Lines, curves
from auditor.web.pages.common import Looking, page

router = APIRouter()


@dataclass(frozen=True)
class Boosts:
    """All, the newest first, each with its recipe in words."""

    boosts: tuple[tuple[Row, str], ...]


@dataclass(frozen=True)
class Boost:
    """``checkpoint`` and ``verdict`` are None until it has left one."""

    boost: Row
    recipe: str
    curves: tuple[Lines, ...]
    checkpoint: Row | None
    verdict: str | None


@router.get("/boosts", response_class=HTMLResponse)
def boosts(request: Request, engine: Database, _: Looking) -> HTMLResponse:
    rows = tuple((row, recipe_words(row["request"]["recipe"])) for row in list_trainings(engine, kind="boost"))
    return page(request, "boosts.html", Boosts(rows))


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
        recipe=recipe_words(row["request"]["recipe"]),
        curves=tuple(one for one in drawn if one is not None),
        checkpoint=made,
        verdict=verdict_words(made) if made else None,
    )
    return page(request, "boost.html", context)
