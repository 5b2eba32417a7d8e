"""Checkpoints: fine-tuned weights, one folder for each, which are models of a zoo themselves."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, ModelLoadError, NotFoundError, first_line
from auditor.files import largest_file, read_limited, write_atomically
from auditor.records import ZooEntry
from auditor.records.entries import entry_from, entry_to
from auditor.zoo.source import LoadedModel, Source

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
FILE = "entry.json"
"""Describes the weights; written last, so that a folder without it is no checkpoint."""

OpenSource = Callable[..., Source]


@dataclass(frozen=True)
class CheckpointZoo:
    """The checkpoints in a folder by their numbers: ``checkpoint:7`` is in ``folder/7``.

    ``open_source`` opens the source of the original model, which constructs the architecture.
    """

    folder: Path
    open_source: OpenSource
    trust_code: bool = False
    preload: tuple[str, ...] = ()

    def entries(self) -> list[ZooEntry]:
        """Raises NotFoundError if there is no checkpoint, EnvironmentUnusableError if an entry cannot be read."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        numbers = sorted(int(path.name) for path in folders if path.name.isdigit() and (path / FILE).is_file())
        if not numbers:
            raise NotFoundError(
                f"there is no checkpoint in {self.folder}: set AUDITOR_CHECKPOINTS to the folder of checkpoints"
            )
        return [read_description(self.folder / str(number))[0] for number in numbers]

    def missing(self, entry: ZooEntry) -> str | None:
        """The files that the original model has to download before its architecture can be constructed."""
        origin, source = self._origin(entry)
        return source.missing(origin) if origin.source == "robustbench" else None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        return largest_file(self._folder(entry) / WEIGHTS for entry in entries)

    def construct(self, entry: ZooEntry) -> "nn.Module":
        origin, source = self._origin(entry)
        return source.construct(origin)

    def origin(self, entry: ZooEntry) -> tuple[ZooEntry, Path | None]:
        """The original model of a checkpoint, and the folder of its zoo."""
        _, origin, zoo_folder = read_description(self._existing_folder(entry))
        return origin, zoo_folder

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import inner_network
        from auditor.zoo.weights import fill, read_safetensors

        folder = self._folder(entry)
        state = read_safetensors(folder / WEIGHTS, entry.file_sha256)
        model = self.construct(entry)
        network = inner_network(model)
        notes = fill(network, state, f"{entry.model}'s {WEIGHTS}")
        return LoadedModel(set_eval(model), state_dict_digest(network.state_dict()), notes)

    def _folder(self, entry: ZooEntry) -> Path:
        return self.folder / entry.model.removeprefix("checkpoint:")

    def _origin(self, entry: ZooEntry) -> tuple[ZooEntry, Source]:
        """The original model of a checkpoint, and its source."""
        origin, zoo_folder = self.origin(entry)
        return origin, self.open_source(origin.source, zoo_folder, trust_code=self.trust_code)

    def _existing_folder(self, entry: ZooEntry) -> Path:
        folder = self._folder(entry)
        if not (folder / FILE).is_file():
            raise ModelLoadError(
                f"{entry.model} is not in {self.folder}: set AUDITOR_CHECKPOINTS to the folder of checkpoints"
            )
        return folder


def write_checkpoint(
    folder: Path,
    number: int,
    state: "dict[str, Tensor]",
    origin: ZooEntry,
    *,
    zoo_folder: Path | None,
    description: str,
    training: dict[str, Any],
) -> ZooEntry:
    """Write the checkpoint ``folder/number``: first the weights, then their entry, each file atomically.

    Args:
        state: the state dict of :func:`auditor.zoo.normalized.inner_network`.
        origin: the entry of the original model, which has the same architecture.
        zoo_folder: the folder of the original model's zoo, if it has one.

    Returns:
        The entry of the checkpoint.

    Raises:
        EnvironmentUnusableError: the checkpoint cannot be written; existing files are unchanged.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    entry = replace(
        origin,
        model=f"checkpoint:{number}",
        source="checkpoint",
        description=description,
        file_sha256=hashlib.sha256(content).hexdigest(),
        training=training,
        place=None,
    )
    about = {
        "entry": entry_to(entry),
        "origin": entry_to(origin),
        "place": None if zoo_folder is None else str(zoo_folder),
    }
    target = folder / str(number)
    try:
        for name, data in ((WEIGHTS, content), (FILE, json.dumps(about, indent=1).encode())):
            with write_atomically(target / name) as file:
                file.write(data)
    except OSError as error:
        raise EnvironmentUnusableError(f"cannot write the checkpoint {target}: {first_line(error)}") from error
    return entry


def read_description(folder: Path) -> tuple[ZooEntry, ZooEntry, Path | None]:
    """Read the entry of a checkpoint, the entry of its original model, and the folder of that model's zoo.

    Raises:
        EnvironmentUnusableError: the description in ``folder`` is missing or cannot be read.
    """
    try:
        stored = json.loads(read_limited(folder / FILE))
        entry, origin = (entry_from(stored[name]) for name in ("entry", "origin"))
        return entry, origin, Path(stored["place"]) if stored["place"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EnvironmentUnusableError(f"cannot read the checkpoint's {folder / FILE}: {first_line(error)}") from error
