"""Export a checkpoint as a folder that timm and the hub's tools load: weights, config.json and a model card."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.checkpoints.card import CONFIG, model_card
from auditor.checkpoints.configs import plain_config, timm_config
from auditor.checkpoints.origin import origin_of
from auditor.errors import EnvironmentUnusableError, ModelLoadError, UsageError, first_line
from auditor.files import file_sha256, write_atomically
from auditor.records import ZooEntry
from auditor.records.checkpoints import CheckpointRow
from auditor.zoo.checkpoint import WEIGHTS, read_description

if TYPE_CHECKING:
    from torch import Tensor

CARD = "README.md"
NAMES = (WEIGHTS, CONFIG, CARD)
_CHUNK = 2**20


def export_checkpoint(row: CheckpointRow, out: Path) -> list[Path]:
    """Write the weights, config.json and README.md to the folder ``out``: all of them or none.

    ``out`` may already hold the same files with the same contents; nothing else is ever overwritten.

    Args:
        row: the checkpoint as auditor.db.checkpoints returns it; ``row.folder`` holds its weights.

    Returns:
        The files, in the order of :data:`NAMES`.

    Raises:
        UsageError: ``out`` holds other files or contents, or is no folder.
        ModelLoadError: the weights are missing or damaged, differ from the database, or do not fit the architecture.
        EnvironmentUnusableError: the description cannot be read, or ``out`` cannot be written.
    """
    source = Path(row.folder)
    _refuse_others(out)
    with _named(row):
        entry, original, _ = read_description(source)
        state = _checked_state(row, entry, source / WEIGHTS)
        config = _config(row, entry, original, source, state)
    card = model_card(row, entry, original, origin_of(original))
    contents = {CONFIG: config, CARD: card.encode()}
    _refuse_changed(out, entry, contents)
    with _all_or_nothing(out):
        _copy(source / WEIGHTS, out / WEIGHTS, entry.file_sha256)
        for name, content in contents.items():
            with write_atomically(out / name) as file:
                file.write(content)
    return [out / name for name in NAMES]


def read_card(row: CheckpointRow) -> str:
    """The model card that an export would write; the weights are not read.

    Raises:
        EnvironmentUnusableError: the checkpoint's description cannot be read, or timm is needed and not installed.
    """
    entry, original, _ = read_description(Path(row.folder))
    return model_card(row, entry, original, origin_of(original))


@contextlib.contextmanager
def _named(row: CheckpointRow) -> Iterator[None]:
    try:
        yield
    except ModelLoadError as error:
        raise ModelLoadError(f"{row.checkpoint}: {error}") from error


def _checked_state(row: CheckpointRow, entry: ZooEntry, weights: Path) -> "dict[str, Tensor]":
    """Load the weights, and check the digests of the file and of the database."""
    from auditor.zoo.digest import state_dict_digest
    from auditor.zoo.weights import read_safetensors

    state = read_safetensors(weights, entry.file_sha256)
    found = state_dict_digest(state)
    if found != row.weights_sha256:
        expected = str(row.weights_sha256)[:12]
        raise ModelLoadError(
            f"expected weights with SHA-256 {expected}…, as in the database, got {found[:12]}… in {weights}"
        )
    return state


def _config(row: CheckpointRow, entry: ZooEntry, original: ZooEntry, source: Path, state: "dict[str, Tensor]") -> bytes:
    """config.json; a network of timm is constructed, and must load the weights with strict keys."""
    if "timm" not in entry.architecture:
        return plain_config(row, entry, original)
    from auditor.zoo import find_source
    from auditor.zoo.normalized import inner_network

    network = inner_network(find_source("checkpoint", source.parent).construct(entry))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelLoadError(f"{WEIGHTS} does not fit {entry.architecture['timm']}: {first_line(error)}") from error
    return timm_config(row, entry, network)


def _refuse_others(out: Path) -> None:
    """Refuse a folder with files that are not part of a checkpoint, before anything is read."""
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"expected a folder to write to, got the file {out}")
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise EnvironmentUnusableError(f"cannot read the folder {out}: {first_line(error)}") from error
    others = [name for name in names if name not in NAMES and not _is_temporary(name)]
    if others:
        raise UsageError(f"{out} holds {others[0]!r}, which is not part of a checkpoint: choose an empty folder")


def _is_temporary(name: str) -> bool:
    """Whether a killed process left this temporary file of :func:`write_atomically`."""
    return name.endswith(".part") and name.startswith(NAMES)


def _refuse_changed(out: Path, entry: ZooEntry, contents: dict[str, bytes]) -> None:
    """Refuse to replace files with other contents, such as another checkpoint or an edited card."""
    for name in NAMES:
        path = out / name
        if not path.exists():
            continue
        try:
            same = file_sha256(path) == entry.file_sha256 if name == WEIGHTS else path.read_bytes() == contents[name]
        except OSError as error:
            raise EnvironmentUnusableError(f"cannot read {path}: {first_line(error)}") from error
        if not same:
            raise UsageError(f"{path} exists with other contents: choose an empty folder; nothing was changed")


def _copy(weights: Path, target: Path, sha256: str | None) -> None:
    """Copy the weights; raises ModelLoadError if the file has changed since it was checked."""
    digest = hashlib.sha256()
    with weights.open("rb") as source, write_atomically(target) as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ModelLoadError(f"{weights} changed during the copy: try again")


@contextlib.contextmanager
def _all_or_nothing(out: Path) -> Iterator[None]:
    """Remove the written files if not all of them could be written; existing files stay."""
    folder_exists, existing_files = out.is_dir(), {name for name in NAMES if (out / name).exists()}
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            for name in set(NAMES) - existing_files:
                (out / name).unlink(missing_ok=True)
            if not folder_exists:
                out.rmdir()
        if isinstance(error, OSError):
            raise EnvironmentUnusableError(f"cannot write {out}: {first_line(error)}; no file was written") from error
        raise
