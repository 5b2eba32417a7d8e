"""A checkpoint as a folder that the hub's tools and timm load: weights, config.json and a model card."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.checkpoints.card import CONFIG, model_card
from auditor.checkpoints.configs import plain_config, timm_config
from auditor.checkpoints.origin import origin_of
from auditor.checkpoints.wording import Row
from auditor.errors import EnvironmentUnusableError, ModelLoadError, UsageError, first_line
from auditor.files import write_atomically
from auditor.records import ZooEntry
from auditor.zoo.checkpoint import WEIGHTS, described

if TYPE_CHECKING:
    from torch import Tensor

CARD = "README.md"
NAMES = (WEIGHTS, CONFIG, CARD)
_CHUNK = 2**20


def hand_out(row: Row, out: Path) -> list[Path]:
    """Write the folder ``out``: the weights, config.json and README.md, all of them or none.

    What lies in ``out`` already may only be the very same files: nothing is ever overwritten.

    Args:
        row: the checkpoint as auditor.db.checkpoints gives it; ``row["folder"]`` holds its weights.

    Returns:
        The files, in the order of :data:`NAMES`.

    Raises:
        UsageError: ``out`` holds something else, or is no folder.
        ModelLoadError: the weights are missing, damaged, not those of the database, or do not fit the architecture.
        EnvironmentUnusableError: the description cannot be read, or ``out`` cannot be written.
    """
    source = Path(row["folder"])
    _refuse_others(out)
    with _named(row):
        entry, began, _ = described(source)
        state = _checked_state(row, entry, source / WEIGHTS)
        config = _config(row, entry, began, source, state)
    card = model_card(row, entry, began, origin_of(began))
    contents = {CONFIG: config, CARD: card.encode()}
    _refuse_changed(out, entry, contents)
    with _all_or_nothing(out):
        _copy(source / WEIGHTS, out / WEIGHTS, entry.file_sha256)
        for name, content in contents.items():
            with write_atomically(out / name) as file:
                file.write(content)
    return [out / name for name in NAMES]


@contextlib.contextmanager
def _named(row: Row) -> Iterator[None]:
    try:
        yield
    except ModelLoadError as error:
        raise ModelLoadError(f"{row['checkpoint']}: {error}") from error


def _checked_state(row: Row, entry: ZooEntry, weights: Path) -> "dict[str, Tensor]":
    """The weights, whose file is the one that was written, and which are those of the database."""
    from auditor.zoo.digest import state_dict_digest
    from auditor.zoo.weights import read_safetensors

    state = read_safetensors(weights, entry.file_sha256)
    found = state_dict_digest(state)
    if found != row["weights_sha256"]:
        expected = str(row["weights_sha256"])[:12]
        raise ModelLoadError(
            f"expected weights of SHA-256 {expected}…, as the database has it, got {found[:12]}… in {weights}"
        )
    return state


def _config(row: Row, entry: ZooEntry, began: ZooEntry, source: Path, state: "dict[str, Tensor]") -> bytes:
    """config.json; a network of timm's is made, and must take the weights by strict keys."""
    if "timm" not in entry.architecture:
        return plain_config(row, entry, began)
    from auditor.zoo import find_source
    from auditor.zoo.normalized import network_of

    network = network_of(find_source("checkpoint", source.parent).construct(entry))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelLoadError(f"{WEIGHTS} does not fit {entry.architecture['timm']}: {first_line(error)}") from error
    return timm_config(row, entry, network)


def _refuse_others(out: Path) -> None:
    """Before anything is read: ``out`` holds no other names than a checkpoint's."""
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"expected a folder to write to, got the file {out}")
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise EnvironmentUnusableError(f"cannot read the folder {out}: {first_line(error)}") from error
    other = [name for name in names if name not in NAMES and not _scratch(name)]
    if other:
        raise UsageError(f"{out} holds {other[0]!r}, which is no part of a checkpoint: choose an empty folder")


def _scratch(name: str) -> bool:
    """Whether a file is what a run that was killed has left of :func:`write_atomically`."""
    return name.endswith(".part") and name.startswith(NAMES)


def _refuse_changed(out: Path, entry: ZooEntry, contents: dict[str, bytes]) -> None:
    """What lies there must be what would be written: another checkpoint, or an edited card, is not lost."""
    for name in NAMES:
        path = out / name
        if not path.exists():
            continue
        try:
            same = _digest(path) == entry.file_sha256 if name == WEIGHTS else path.read_bytes() == contents[name]
        except OSError as error:
            raise EnvironmentUnusableError(f"cannot read {path}: {first_line(error)}") from error
        if not same:
            raise UsageError(f"{path} is there with other content: choose an empty folder, nothing was changed")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(weights: Path, target: Path, sha256: str | None) -> None:
    """Raises ModelLoadError where what is read is not what was checked."""
    digest = hashlib.sha256()
    with weights.open("rb") as source, write_atomically(target) as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ModelLoadError(f"{weights} has changed while it was copied: try again")


@contextlib.contextmanager
def _all_or_nothing(out: Path) -> Iterator[None]:
    """Take back what was written where not all of it could be; what was there before stays."""
    folder_there, files_there = out.is_dir(), {name for name in NAMES if (out / name).exists()}
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            for name in set(NAMES) - files_there:
                (out / name).unlink(missing_ok=True)
            if not folder_there:
                out.rmdir()
        if isinstance(error, OSError):
            raise EnvironmentUnusableError(f"cannot write {out}: {first_line(error)}; nothing was left") from error
        raise
