"""Routes of checkpoints: list, show, and download the weights with a token."""

import base64
import functools
import stat
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.responses import FileResponse

from auditor.config import settings
from auditor.db.checkpoints import list_checkpoints, load_checkpoint
from auditor.db.tokens import Bearer
from auditor.errors import NotFoundError
from auditor.files import file_sha256
from auditor.records.checkpoints import CheckpointRow
from auditor.results.serialize import serialize
from auditor.web.api.common import Cursor, Database, FiniteJSONResponse, Number, make_router, response_options
from auditor.web.paging import decode_number_cursor, encode_number_cursor, split_page
from auditor.web.security.access import require_scope
from auditor.web.shapes import jobs as shapes
from auditor.zoo.checkpoint import WEIGHTS

router = make_router("checkpoints")


@router.get("/checkpoints", **response_options(shapes.Checkpoints))
def get_checkpoints(
    engine: Database, limit: Annotated[int, Query(ge=1, le=500)] = 50, cursor: Cursor = None
) -> FiniteJSONResponse:
    """List checkpoints, the newest first, each with the audits before and after its boost.

    `next` is the cursor of the next page.
    """
    read = list_checkpoints(engine, limit=limit + 1, before=decode_number_cursor("checkpoint", cursor))
    rows, following = split_page(read, limit, lambda row: encode_number_cursor("checkpoint", row.id))
    return FiniteJSONResponse({"checkpoints": [_to_public(row) for row in rows], "next": following})


@router.get("/checkpoints/{number}", **response_options(shapes.CheckpointDetail))
def get_checkpoint(engine: Database, number: Number) -> dict[str, Any]:
    """Return one checkpoint. `file_sha256` is the digest of the weights file."""
    row = load_checkpoint(engine, number)
    return _to_public(row) | {"file_sha256": file_digest(weights_path(row)).hex()}


@router.head("/checkpoints/{number}/weights", include_in_schema=False)
@router.get("/checkpoints/{number}/weights", response_class=FileResponse)
def get_weights(engine: Database, number: Number, _: Annotated[Bearer, Depends(require_scope("read"))]) -> FileResponse:
    """Return the weights as a safetensors file. Ranges are supported; the header Repr-Digest follows RFC 9530."""
    path = weights_path(load_checkpoint(engine, number))
    sha256 = file_digest(path)
    headers = {"Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:", "ETag": f'"{sha256.hex()}"'}
    headers["Cache-Control"] = "private, no-cache"
    return FileResponse(
        path, media_type="application/octet-stream", filename=f"checkpoint-{number}.safetensors", headers=headers
    )


def weights_path(row: CheckpointRow) -> Path:
    """Return the weights file of a checkpoint; its folder is named by its ID. Raises NotFoundError if it is missing."""
    path = settings().checkpoints / str(row.id) / WEIGHTS
    if not path.is_file():
        raise NotFoundError(f"the weights of checkpoint {row.id} are not stored on this machine")
    return path


def file_digest(path: Path) -> bytes:
    """Compute the SHA-256 of a file; the result is cached until the file changes."""
    status = path.stat()
    return _file_digest(path, status.st_mtime_ns, status[stat.ST_SIZE])


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, _changed: int, _size: int) -> bytes:
    return bytes.fromhex(file_sha256(path))


def _to_public(row: CheckpointRow) -> dict[str, Any]:
    """Drop the checkpoint's path on this machine."""
    return {name: value for name, value in serialize(row).items() if name != "folder"}
