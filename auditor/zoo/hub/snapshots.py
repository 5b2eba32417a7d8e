"""Snapshots of the hub's repositories: folders in its cache, or a user's own, found without any network."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.errors import ModelLoadError, NotFoundError, first_line
from auditor.files import read_limited
from auditor.text.printable import check_printable
from auditor.zoo.file_types import INDEX, WEIGHT_TYPES, file_type

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files that may hold the weights; the first one that exists is read."""
DESCRIPTIONS = (CONFIG, "preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Snapshot:
    """One snapshot.

    Attributes:
        id: ``owner/name`` for the revision ``main``, ``owner/name@revision`` for others, or the name of the folder.
        folder: holds config.json.
        revision: the hash of the commit; None for a folder of a user's own.
    """

    id: str
    folder: Path
    revision: str | None = None

    @property
    def repository(self) -> str:
        return self.id.partition("@")[0]

    def find_weights(self) -> Path | None:
        """The file with the weights, or the index of its shards; None if there is none."""
        return next((self.folder / name for name in WEIGHTS if (self.folder / name).exists()), None)


def cached_snapshots(repository: str = "*") -> list[Snapshot]:
    """Snapshots in the hub's cache that hold a config.json, by name: branches and tags, then other commits."""
    found = []
    for folder in sorted(_cache().glob(f"models--{repository.replace('/', '--')}")):
        name, named = folder.name.removeprefix("models--").replace("--", "/"), set()
        for ref in sorted(path for path in (folder / "refs").rglob("*") if path.is_file()):
            try:
                branch, commit = ref.relative_to(folder / "refs").as_posix(), read_limited(ref).decode().strip()
            except (OSError, ValueError):  # no ref, or none any more: the commit is listed by its own name
                continue
            named.add(commit)
            found.append(Snapshot(name if branch == "main" else f"{name}@{branch}", _commit(folder, commit), commit))
        others = sorted(path for path in (folder / "snapshots").glob("*") if path.name not in named)
        found += [Snapshot(f"{name}@{path.name}", path, path.name) for path in others]
    return [one for one in found if (one.folder / CONFIG).is_file()]


def cached_revision(name: str, revision: str) -> Snapshot:
    """The snapshot of a commit, whether or not the cache has its files."""
    folder = _cache() / f"models--{name.partition('@')[0].replace('/', '--')}"
    return Snapshot(name, _commit(folder, revision), revision)


def local_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshot in a folder, or those in its folders.

    Raises:
        NotFoundError: there is none.
        ModelLoadError: the name of a snapshot's folder, which becomes the model's name, has control characters.
    """
    folder = folder.expanduser().absolute()
    folders = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    found = [Snapshot(_model_name(path), path) for path in folders if (path / CONFIG).is_file()]
    if not found:
        raise NotFoundError(f"expected a snapshot of the hub, with {CONFIG}, in {folder} or in its folders, got none")
    return found[:1] if found[0].folder == folder else found


def _model_name(folder: Path) -> str:
    try:
        return check_printable(folder.name)
    except ValueError as error:
        raise ModelLoadError(f"name of a snapshot's folder: {error}; rename the folder") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelLoadError: the file is missing, too large, or holds something else.
    """
    try:
        values = json.loads(read_limited(path).decode())
    except OSError as error:
        raise ModelLoadError(f"expected {path.name} in {path.parent}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} is not JSON: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise ModelLoadError(f"{path}: expected a JSON object, got a {type(values).__name__}")
    return values


def read_weights(snapshot: Snapshot) -> dict[str, Any]:
    """The state dict of a snapshot, safetensors first; nothing in the files runs.

    Raises:
        ModelLoadError: there are no weights, or their files hold something else.
    """
    from auditor.zoo.weights import read_checkpoint

    path = snapshot.find_weights()
    if path is None:
        raise ModelLoadError(f"no weights in {snapshot.folder}: expected one of {', '.join(WEIGHTS)}")
    kind = file_type(path)
    if kind in WEIGHT_TYPES:
        return read_checkpoint(path)
    if kind != INDEX:
        raise ModelLoadError(f"{path} is {kind}")
    names = set(map(str, read_json(path).get("weight_map", {}).values()))
    if not names or any(re.fullmatch(r"\w[\w.-]*", name) is None for name in names):
        raise ModelLoadError(f"{path}: expected a weight_map from names to files beside it")
    state: dict[str, Any] = {}
    for name in sorted(names):  # in the cache they are links, which the reader of local zoos refuses
        state |= read_checkpoint(snapshot.folder / name)
    return state


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _commit(folder: Path, commit: str) -> Path:
    return folder / "snapshots" / commit
