"""The pages of adaptations: the list, and one adaptation with its classes and its accuracy by number of images."""

import shlex
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from auditor.db.tokens import Bearer
from auditor.errors import UsageError
from auditor.records.adaptations import AdaptRequest, AdaptResult, AdaptScore, request_from, result_from
from auditor.records.scans import ACTIVE_STATES
from auditor.records.trainings import TrainingRow
from auditor.text.eps import format_eps
from auditor.web.api.common import Cursor, Database, Number
from auditor.web.api.trainings import cancel_job, load_job, load_page
from auditor.web.cleanup import end_dead_jobs
from auditor.web.figures.lines import Lines
from auditor.web.figures.shots import shots_plot
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import require_sign_in

router = APIRouter(dependencies=[Depends(end_dead_jobs)])
ROWS = 50


@dataclass(frozen=True)
class AdaptationEntry:
    """An adaptation in a list; ``best``: the score with the highest robust accuracy, None until there is one.

    ``request`` is None if another version of auditor has stored it, and ``problem`` says so.
    """

    row: TrainingRow
    request: AdaptRequest | None
    best: AdaptScore | None
    problem: str | None = None


@dataclass(frozen=True)
class AdaptationsPage:
    """A page of adaptations, the newest first; ``next``: the cursor of the next page."""

    adaptations: tuple[AdaptationEntry, ...]
    next: str | None


@dataclass(frozen=True)
class AdaptationPage:
    """One adaptation; ``active``: whether it is queued or running; ``command`` starts the same one.

    ``setting`` are names and values; ``plot`` is None if there is only one number of images.
    """

    entry: AdaptationEntry
    active: bool
    result: AdaptResult | None
    plot: Lines | None
    setting: tuple[tuple[str, str], ...]
    command: str | None


@router.get("/adaptations", response_class=HTMLResponse)
def show_adaptations(request: Request, engine: Database, _: PageAccess, cursor: Cursor = None) -> HTMLResponse:
    rows, following = load_page(engine, "adapt", ROWS, cursor)
    context = AdaptationsPage(tuple(_read(row)[0] for row in rows), following)
    return render_page(request, "adaptations.html", context)


@router.get("/adaptations/{number}", response_class=HTMLResponse)
def show_adaptation(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    entry, result = _read(load_job(engine, "adapt", number))
    context = AdaptationPage(
        entry=entry,
        active=entry.row.state in ACTIVE_STATES,
        result=result,
        plot=shots_plot(result) if result else None,
        setting=tuple(_setting(entry.request, entry.row)) if entry.request else (),
        command=shlex.join(["auditor", *entry.request.to_command()]) if entry.request else None,
    )
    return render_page(request, "adaptation.html", context)


@router.post("/adaptations/{number}/cancel")
def cancel(
    engine: Database,
    number: Number,
    owner: Annotated[Bearer, Depends(require_sign_in("boost", "/adaptations/{number}"))],
) -> RedirectResponse:
    cancel_job(engine, "adapt", number, owner)
    return RedirectResponse(f"/adaptations/{number}", 303)


def _read(row: TrainingRow) -> tuple[AdaptationEntry, AdaptResult | None]:
    """Read what is stored; a value of another version of auditor becomes a problem, not an error."""
    try:
        request = request_from(row.request["adapt"])
        result = result_from(row.result) if row.result else None
    except (UsageError, KeyError) as error:
        return AdaptationEntry(row, None, None, f"another version of auditor stored this adaptation: {error}"), None
    best = max(result.scores, key=lambda score: score.adapted.robust, default=None) if result else None
    return AdaptationEntry(row, request, best), result


def _setting(request: AdaptRequest, row: TrainingRow) -> list[tuple[str, str]]:
    tuning, recipe = request.tuning, request.recipe
    start = "the mean of the source classes' templates" if tuning.head == "sources" else "random weights"
    epochs = f", {recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}" if recipe else ""
    source = f"trained by the recipe {request.start}{epochs}" if request.trains else request.start
    return [
        ("source model", source),
        ("tuning", f"{'the head' if tuning.layers == 'head' else 'all layers'}, {tuning.steps} steps, "
                   f"learning rate {tuning.lr:g}, β {tuning.beta:g}"),
        ("head", f"starts from {start}"),
        ("attacks", f"{request.norm} {format_eps(request.eps)}, protocol {request.protocol}"),
        ("images a class", ", ".join(map(str, request.shots))),
        ("seeds", ", ".join(map(str, request.seeds))),
        ("test images", f"at most {request.held_out:,}"),
        ("device", str(row.request.get("device", "–"))),
    ]  # fmt: skip
