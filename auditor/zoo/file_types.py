"""The type of a weight file by its first bytes; its name does not matter, except for an index of shards."""

import os
import re
import stat
from pathlib import Path

from auditor.errors import ModelLoadError, file_reason, one_line
from auditor.files import open_regular

TORCH_TYPES = ("zip", "pickle")
WEIGHT_TYPES = (*TORCH_TYPES, "safetensors")
INDEX = "index"
"""What :func:`file_type` returns for files that hold weights; an index names such files."""

CONVERT = "convert its folder with `python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER w.pt`"

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""Torch's magic number, pickled by itself."""


def file_type(path: Path) -> str:
    """``zip`` or ``pickle`` (both of torch), ``safetensors``, ``index``, or a description of any other file.

    Raises:
        ModelLoadError: the file cannot be read, or it is a folder, a pipe or a device.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = _describe_folder(path) if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
            raise ModelLoadError(f"cannot read the weights {path}: expected a file, got {kind}")
        with open_regular(path) as file:
            head = file.read(4096)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot read the weights {path}: {file_reason(error)}") from error
    if path.suffix == ".distcp":
        return f"one shard of a sharded checkpoint: {CONVERT}"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(LEGACY_TORCH):
        return "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if path.name.endswith(".index.json") and head.lstrip().startswith(b"{"):
        return INDEX
    return _describe_other_file(head)


def _describe_folder(path: Path) -> str:
    sharded = (path / ".metadata").is_file() and any(path.glob("*.distcp"))
    return f"a sharded checkpoint: {CONVERT}" if sharded else "a folder: name the file in it"


def _describe_other_file(head: bytes) -> str:
    """What a file is that holds no weights, and what to do about it."""
    if not head:
        return "an empty file: copy or download it again"
    if head.lstrip().startswith(b"<"):
        title = re.search(rb"<title[^>]*>\s*([^<]*?)\s*</title>", head, re.IGNORECASE)
        quoted = f" ({one_line(title[1].decode(errors='replace'))!r})" if title and title[1] else ""
        return f"an HTML page{quoted}, not a checkpoint: download it again"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself: run `git lfs pull`"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle that torch.save did not write: refused without reading it; save the state dict as safetensors"
    return f"no checkpoint by its first bytes: expected safetensors or what torch.save writes, got {head[:8]!r}"
