"""The pages of checkpoints: the list, and one checkpoint with its proof, its training, its card and its download."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.checkpoints import read_card
from auditor.checkpoints.wording import recipe_words, threat, verdict_words
from auditor.db.checkpoints import list_checkpoints, load_checkpoint
from auditor.errors import NotFoundError
from auditor.records.checkpoints import CheckpointRow
from auditor.web.api.checkpoints import file_digest, weights_path
from auditor.web.api.common import Cursor, Database, Number
from auditor.web.figures.lines import Lines
from auditor.web.pages.boosts import boost_curves
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.paging import decode_number_cursor, encode_number_cursor, split_page

router = APIRouter()
ROWS = 50


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint in a list: its recipe and threat model as text, and the size of its weights file in bytes.

    ``size`` is None if the file is not on this machine.
    """

    row: CheckpointRow
    recipe: str
    threat: str
    size: int | None


@dataclass(frozen=True)
class CheckpointsPage:
    """A page of checkpoints, the newest first; ``next``: the cursor of the next page."""

    checkpoints: tuple[CheckpointEntry, ...]
    next: str | None


@dataclass(frozen=True)
class CheckpointPage:
    """One checkpoint; ``facts`` are names and values, ``command`` writes its files into a folder."""

    entry: CheckpointEntry
    verdict: str
    curves: tuple[Lines, ...]
    facts: tuple[tuple[str, str], ...]
    command: str


@dataclass(frozen=True)
class CardPage:
    """The model card of a checkpoint as Markdown."""

    checkpoint: CheckpointRow
    card: str


@router.get("/checkpoints", response_class=HTMLResponse)
def show_checkpoints(request: Request, engine: Database, _: PageAccess, cursor: Cursor = None) -> HTMLResponse:
    read = list_checkpoints(engine, limit=ROWS + 1, before=decode_number_cursor("checkpoint", cursor))
    rows, following = split_page(read, ROWS, lambda row: encode_number_cursor("checkpoint", row.id))
    return render_page(request, "checkpoints.html", CheckpointsPage(tuple(map(_entry, rows)), following))


@router.get("/checkpoints/{number}", response_class=HTMLResponse)
def show_checkpoint(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    row = load_checkpoint(engine, number)
    context = CheckpointPage(
        entry=_entry(row),
        verdict=verdict_words(row),
        curves=boost_curves(row.history),
        facts=tuple(_facts(row)),
        command=shlex.join(["auditor", "checkpoints", "get", str(number), "--out", f"checkpoint-{number}"]),
    )
    return render_page(request, "checkpoint.html", context)


@router.get("/checkpoints/{number}/card", response_class=HTMLResponse)
def show_card(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    row = load_checkpoint(engine, number)
    if not Path(row.folder).is_dir():
        raise NotFoundError(f"the files of checkpoint {number} are not on this machine")
    return render_page(request, "checkpoint_card.html", CardPage(row, read_card(row)))


def _entry(row: CheckpointRow) -> CheckpointEntry:
    try:
        size = weights_path(row).stat().st_size
    except (NotFoundError, OSError):
        size = None
    return CheckpointEntry(row, recipe_words(row.recipe), threat(row), size)


def _facts(row: CheckpointRow) -> list[tuple[str, str]]:
    try:
        digest = file_digest(weights_path(row)).hex()
    except (NotFoundError, OSError):
        digest = "the file is not stored on this machine"
    versions = ", ".join(f"{name} {number}" for name, number in sorted(row.versions.items()))
    ended = [("training ended early", row.stopped)] if row.stopped else []
    return [
        ("lineage", " → ".join([*row.lineage, row.checkpoint])),
        ("kept epoch", f"{row.best} of {len(row.history) - 1}, the best PGD accuracy on held-out training images"),
        *ended,
        ("weights, SHA-256", row.weights_sha256),
        ("file model.safetensors, SHA-256", digest),
        ("weights of the parent, SHA-256", row.parent_sha256),
        ("training images, SHA-256", row.data_sha256),
        ("device", row.device),
        ("versions", versions),
    ]
