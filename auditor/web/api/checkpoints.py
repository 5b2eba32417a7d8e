"""Checkpoints: what boosts left, and the weights themselves for who has a token."""

import base64
import functools
import hashlib
import stat
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.checkpoints import list_checkpoints, load_checkpoint
from auditor.db.tokens import Bearer
from auditor.errors import UsageError
from auditor.web.access import requires
from auditor.web.api.common import PROBLEMS, Database, Json, Number, answers
from auditor.web.errors import PageNotFoundError
from auditor.web.shapes import jobs as shapes
from auditor.zoo.checkpoint import WEIGHTS

router = APIRouter(tags=["checkpoints"], responses=PROBLEMS, default_response_class=Json)


@router.get("/checkpoints", **answers(shapes.Checkpoints))
def list_(engine: Database) -> dict[str, Any]:
    """All checkpoints, the newest first, with what the audits before and after say."""
    return {"checkpoints": [_told(row) for row in list_checkpoints(engine)]}


@router.get("/checkpoints/{number}", **answers(shapes.CheckpointDetail))
def show(engine: Database, number: Number) -> dict[str, Any]:
    """One checkpoint; ``file_sha256`` is that of its weights' file."""
    row = find(engine, number)
    return _told(row) | {"file_sha256": digest(weights_of(row)).hex()}


@router.head("/checkpoints/{number}/weights", include_in_schema=False)
@router.get("/checkpoints/{number}/weights", response_class=FileResponse)
def weights(engine: Database, number: Number, _: Annotated[Bearer, Depends(requires("read"))]) -> FileResponse:
    """The safetensors file; takes ranges, and says its digest (RFC 9530)."""
    path = weights_of(find(engine, number))
    sha256 = digest(path)
    headers = {"Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:", "ETag": f'"{sha256.hex()}"'}
    headers["Cache-Control"] = "private, no-cache"
    return FileResponse(
        path, media_type="application/octet-stream", filename=f"checkpoint-{number}.safetensors", headers=headers
    )


def find(engine: Engine, number: int) -> dict[str, Any]:
    """Raises PageNotFoundError where there is no such checkpoint."""
    try:
        return load_checkpoint(engine, number)
    except UsageError as error:
        raise PageNotFoundError(f"there is no checkpoint {number}") from error


def weights_of(row: dict[str, Any]) -> Path:
    """The file of a checkpoint that the database knows: its folder is its number.

    Raises:
        PageNotFoundError: it is not on this machine.
    """
    path = settings().checkpoints / str(row["id"]) / WEIGHTS
    if not path.is_file():
        raise PageNotFoundError(f"the weights of checkpoint {row['id']} are not on this machine")
    return path


def digest(path: Path) -> bytes:
    """SHA-256 of a file, computed once for each state of it."""
    found = path.stat()
    return _digest(path, found.st_mtime_ns, found[stat.ST_SIZE])


@functools.lru_cache(maxsize=256)
def _digest(path: Path, _changed: int, _size: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Without where it lies on this machine."""
    return {name: value for name, value in row.items() if name != "folder"}
