"""Weight files that are downloaded: their paths, their addresses, and reading them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from auditor.errors import ModelLoadError
from auditor.files import file_sha256
from auditor.zoo.download import download
from auditor.zoo.file_types import WEIGHT_TYPES, file_type


@dataclass(frozen=True)
class WeightFile:
    """One file: its path, its address, and the page on which a person gets it."""

    path: Path
    url: str
    page: str


def hub_folder() -> Path:
    """The cache folder of torch's hub, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def hub_weight_file(url: str) -> WeightFile:
    """The file in the cache folder to which torch's hub would download this address."""
    return WeightFile(hub_folder() / urlsplit(url).path.rpartition("/")[2], url, url)


def load_or_download(file: WeightFile) -> Any:
    """The content of the file; a missing or bad file is downloaded, and a bad one is never used.

    Raises:
        ModelLoadError: "download failed: …"; if a bad file exists, the message begins with its fault.
    """

    def read(path: Path) -> Any:
        from auditor.zoo.weights import read_content

        _check_digest(path, file.path.name)
        return read_content(path, name=str(path))

    fault = None
    if file.path.exists():
        try:
            return read(file.path)
        except ModelLoadError as error:
            fault = error
    try:
        return download(file.url, file.path, read, by_hand=file.page)
    except ModelLoadError as error:
        if fault is None:
            raise
        raise ModelLoadError(f"{fault}; {error}") from error


def _check_digest(path: Path, name: str) -> None:
    """Compare the first digits of the SHA-256 that torch's own file names carry, as in ``resnet50-0676ba61.pth``.

    Raises:
        ModelLoadError: the file has another digest than its name says.
    """
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    if expected is None or (kind := file_type(path)) not in WEIGHT_TYPES:  # reading it gives the clearer error
        return
    try:
        got = file_sha256(path)
    except OSError as error:
        raise ModelLoadError(f"cannot read the weights {path}: {error.strerror}") from error
    if not got.startswith(expected[1]):
        digests = f"expected SHA-256 {expected[1]}…, got {got[:8]}…"
        raise ModelLoadError(f"{path}: {digests}: a {kind} file, but not the expected one")
