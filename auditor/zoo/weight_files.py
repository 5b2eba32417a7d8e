"""Weight files that are downloaded: where they lie, where they come from, and what may be in them."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from auditor.errors import ModelLoadError
from auditor.zoo.download import CHECKPOINTS, download, what_is


@dataclass(frozen=True)
class WeightFile:
    """One file: its place, its address, and the page where a person gets it."""

    path: Path
    url: str
    page: str


def hub_folder() -> Path:
    """Where torch keeps what its hub downloads; said here without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def from_address(url: str) -> WeightFile:
    """The file that torch's hub would make of an address, in its cache."""
    return WeightFile(hub_folder() / urlsplit(url).path.rpartition("/")[2], url, url)


def obtain(file: WeightFile) -> Any:
    """What is in the file; one that is missing or bad is downloaded, and a bad one is never used.

    Raises:
        ModelLoadError: "download failed: …", after what is wrong with the file that is there, if one is.
    """

    def read(path: Path) -> Any:
        _check_digest(path, file.path.name)
        return read_checked(path)

    found = None
    if file.path.exists():
        try:
            return read(file.path)
        except ModelLoadError as error:
            found = error
    try:
        return download(file.url, file.path, read, by_hand=file.page)
    except ModelLoadError as error:
        if found is None:
            raise
        raise ModelLoadError(f"{found}; {error}") from error


def _check_digest(path: Path, name: str) -> None:
    """Torch's own downloads carry the first digits of their SHA-256 in their names, as ``resnet50-0676ba61.pth``.

    Raises:
        ModelLoadError: the name has such digits and the file others.
    """
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    if expected is None or (kind := what_is(path)) not in CHECKPOINTS:  # which is said better than by digits
        return
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if not got.startswith(expected[1]):
        short = f"expected SHA-256 {expected[1]}…, got {got[:8]}…"
        raise ModelLoadError(f"{path}: {short}: a {kind} file, but not the one meant")


def read_checked(path: Path) -> Any:
    """The content of a checkpoint: tensors and plain values, nothing that runs.

    Raises:
        ModelLoadError: it is no checkpoint, damaged, or holds more than that.
    """
    from auditor.zoo.weights import read_content

    return read_content(path, name=str(path))
