"""Weights from MLflow's model registry: ``weights = "models:/NAME/VERSION"`` in a zoo.toml.

The server is the one that MLflow's own variables name (``MLFLOW_REGISTRY_URI``, ``MLFLOW_TRACKING_URI``), not the
zoo's file: a folder from strangers must not choose whom this machine asks.
"""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from auditor.errors import EnvironmentUnusableError, ModelLoadError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_URI = re.compile(r"models:/([^/@#:]+)(?:/([0-9]+)|@([\w.-]+))(?:#([^#]+))?")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_MOST_NAMED = 5


def is_registered(weights: str) -> bool:
    """Whether the name of a weight file is one of the registry."""
    return weights.startswith("models:")


def check_registered(weights: str) -> str:
    """Return the name. Raises ValueError if it is neither ``models:/NAME/VERSION`` nor ``models:/NAME@ALIAS``."""
    found = _URI.fullmatch(weights)
    if found is None:
        raise ValueError(
            "expected models:/NAME/VERSION or models:/NAME@ALIAS, and #FILE behind it where the version has several "
            f"weight files, got {weights!r:.100}"
        )
    file = found[4]
    if file is not None and (PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts):
        raise ValueError(f"{file!r} leads out of the model's files")
    return weights


def fetch_registered(weights: str) -> tuple[Path, str]:
    """Download a version of a registered model once, and return its weight file and a note with its version.

    Raises:
        ModelLoadError: the server does not have it, does not answer, or the version has no or several weight files.
    """
    from auditor.network.mlflow import mlflow_client

    name, version, alias, file = check_and_split(weights)
    try:
        with mlflow_client(None) as client:
            by_alias = client.get_model_version_by_alias
            found = client.get_model_version(name, version) if version else by_alias(name, alias)
            folder = _download(found)
    except EnvironmentUnusableError as error:
        server = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI")
        hint = "" if server else "; set MLFLOW_TRACKING_URI to the address of the server"
        raise ModelLoadError(f"{weights}: {error}{hint}") from error
    note = f"weights are version {found.version} of {name} in MLflow's registry"
    return find_weight_file(folder, file, weights), note


def check_and_split(weights: str) -> tuple[str, str, str, str | None]:
    """The name, version, alias and file of a name of the registry; empty texts for what it does not have."""
    found = _URI.fullmatch(check_registered(weights))
    assert found is not None
    return found[1], found[2] or "", found[3] or "", found[4]


def find_weight_file(folder: Path, file: str | None, weights: str) -> Path:
    """The weight file of a downloaded version: the named one, or the only one.

    Raises:
        ModelLoadError: there is no such file, or there are several.
    """
    if file is not None:
        if not (folder / file).is_file():
            raise ModelLoadError(
                f"{weights}: the version has no file {file!r}; it has {_named(folder, _files(folder))}"
            )
        return folder / file
    found = [path for path in _files(folder) if path.suffix in _SUFFIXES]
    safe = [path for path in found if path.suffix == ".safetensors"] or found
    if len(safe) != 1:
        count = "no weight file" if not safe else "several weight files"
        raise ModelLoadError(
            f"{weights}: the version has {count}: {_named(folder, safe or _files(folder))}; "
            f'write weights = "{weights}#FILE"'
        )
    return safe[0]


def _download(version: "ModelVersion") -> Path:
    """The folder of a version in the cache; its name also has the time of its creation, for numbers come again."""
    import mlflow

    server = mlflow.get_registry_uri()
    key = f"{server}\n{version.name}\n{version.version}\n{version.creation_timestamp}"
    folder = user_cache_path("auditor") / "mlflow" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            uri = f"models:/{version.name}/{version.version}"
            target = Path(scratch, "version")
            target.mkdir()
            place = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target))
            try:
                Path(place).rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    shutil.copytree(place, folder)
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _named(folder: Path, paths: list[Path]) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "") or "no files"
