"""Boosts and adaptations are training jobs: their lists, one of them, and its end, for the API and for the pages."""

import contextlib
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Engine

from auditor.db.tokens import Bearer
from auditor.db.trainings import Trainings, list_trainings, load_training
from auditor.errors import NotFoundError
from auditor.records.results import State
from auditor.records.trainings import TrainingRow
from auditor.web.paging import decode_number_cursor, encode_number_cursor, split_page

Kind = Literal["boost", "adapt"]
NAMES: dict[Kind, str] = {"boost": "boost", "adapt": "adaptation"}


def load_page(
    engine: Engine, kind: Kind, limit: int, cursor: str | None, state: State | None = None
) -> tuple[Sequence[TrainingRow], str | None]:
    """Load a page of jobs, the newest first, and the cursor of the next page if there is one.

    Raises:
        UsageError: the cursor is malformed, or of another list.
    """
    name = NAMES[kind]
    before = decode_number_cursor(name, cursor)
    read = list_trainings(engine, kind=kind, state=state, limit=limit + 1, before=before)
    return split_page(read, limit, lambda row: encode_number_cursor(name, row.id))


def load_job(engine: Engine, kind: Kind, number: int) -> TrainingRow:
    """Load a job of this kind. Raises NotFoundError for jobs of another kind, too."""
    with contextlib.suppress(NotFoundError):
        row = load_training(engine, number)
        if row.kind == kind:
            return row
    raise NotFoundError(f"there is no {NAMES[kind]} {number}")


def cancel_job(engine: Engine, kind: Kind, number: int, owner: Bearer) -> None:
    """Cancel a queued job, or ask a running one to stop. Raises NotFoundError for jobs of another kind, too."""
    load_job(engine, kind, number)
    Trainings(engine).cancel(number, f"cancelled over HTTP by the token {owner.name}")
