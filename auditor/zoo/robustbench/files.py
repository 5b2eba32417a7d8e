"""The weight files of RobustBench's models: where they lie, where they come from, and what may be in them."""

import argparse
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.errors import ModelLoadError, first_line
from auditor.zoo.download import CHECKPOINTS, download, what_is
from auditor.zoo.robustbench.catalogue import Row

DRIVE = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
DRIVE_PAGE = "https://drive.google.com/file/d/{id}"


@dataclass(frozen=True)
class WeightFile:
    """One file: its place, its address, and the page where a person gets it."""

    path: Path
    url: str
    page: str


def files_of(row: Row, folder: Path) -> list[WeightFile]:
    """All files of a model, in RobustBench's layout; what comes by address lies in torch's hub cache, as it does there.

    Raises:
        ModelLoadError: RobustBench names no place to get them from.
    """
    if row.url:
        return [WeightFile(hub_folder() / row.url.rpartition("/")[2], row.url, row.url)]
    place = folder / row.dataset / row.threat_model
    names = [f"{row.name}.pt_m{i}.pt" for i in range(len(row.gdrive))] if row.ensemble else [f"{row.name}.pt"]
    if not row.gdrive:
        raise ModelLoadError(f"RobustBench says nowhere where the weights of {row.id} are")
    return [
        WeightFile(place / name, DRIVE.format(id=drive), DRIVE_PAGE.format(id=drive))
        for name, drive in zip(names, row.gdrive, strict=True)
    ]


def hub_folder() -> Path:
    """Where torch keeps what its hub downloads; said here without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def obtain(file: WeightFile) -> Any:
    """What is in the file; one that is missing or bad is downloaded, and a bad one is never used.

    Raises:
        ModelLoadError: "download failed: …", after what is wrong with the file that is there, if one is.
    """

    def read(path: Path) -> Any:
        _check_digest(path, file.path.name)
        return _checked(path)

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


def _checked(path: Path) -> Any:
    """The content of a checkpoint: tensors and plain values, nothing that runs.

    Raises:
        ModelLoadError: it is no checkpoint, damaged, or holds more than that.
    """
    import torch
    from safetensors.torch import load_file

    kind = what_is(path)
    if kind not in CHECKPOINTS:
        raise ModelLoadError(f"{path} is {kind}")
    try:
        if kind == "safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # other people's bytes: whatever they make a parser raise
        code = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {code[1]}, more than tensors, and is not loaded" if code else f"is damaged: {first_line(error)}"
        raise ModelLoadError(f"{path} {what}") from error


def _harmless() -> list[Any]:
    """What published checkpoints hold beside tensors and cannot run anything: options and NumPy's numbers."""
    import numpy as np
    from numpy._core import multiarray

    scalar = multiarray.scalar
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [argparse.Namespace, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]
