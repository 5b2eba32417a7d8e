"""Checkpoints: fine-tuned weights, a folder each, that are models of a zoo themselves."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, ModelLoadError, NotFoundError, first_line
from auditor.files import largest_file, write_atomically
from auditor.records import ZooEntry
from auditor.records.entries import entry_from, entry_to
from auditor.zoo.source import LoadedModel, Source

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
FILE = "entry.json"
"""Says what the weights are; written last, so that a folder without it is no checkpoint."""

OpenSource = Callable[..., Source]


@dataclass(frozen=True)
class CheckpointZoo:
    """The checkpoints in a folder, by their numbers: ``checkpoint:7`` lies in ``folder/7``.

    ``open_source`` gives the source of the model that a checkpoint began as, which knows its architecture.
    """

    folder: Path
    open_source: OpenSource
    trust_code: bool = False
    preload: tuple[str, ...] = ()

    def entries(self) -> list[ZooEntry]:
        """Raises NotFoundError where there is none, EnvironmentUnusableError where a description cannot be read."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        numbers = sorted(int(one.name) for one in folders if one.name.isdigit() and (one / FILE).is_file())
        if not numbers:
            raise NotFoundError(f"there is no checkpoint in {self.folder}; AUDITOR_CHECKPOINTS may name another folder")
        return [described(self.folder / str(number))[0] for number in numbers]

    def missing(self, entry: ZooEntry) -> str | None:
        """What the model that it began as would have to download to say what its architecture is."""
        origin, source = self._origin(entry)
        return source.missing(origin) if origin.source == "robustbench" else None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        return largest_file(self._folder(entry) / WEIGHTS for entry in entries)

    def construct(self, entry: ZooEntry) -> "nn.Module":
        origin, source = self._origin(entry)
        return source.construct(origin)

    def origin(self, entry: ZooEntry) -> tuple[ZooEntry, Path | None]:
        """The zoo's model that a checkpoint began as, and the folder of that one's zoo."""
        _, origin, place = described(self._checked(entry))
        return origin, place

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import network_of
        from auditor.zoo.weights import fill, read_safetensors

        folder = self._folder(entry)
        state = read_safetensors(folder / WEIGHTS, entry.file_sha256)
        model = self.construct(entry)
        bare = network_of(model)
        notes = fill(bare, state, f"{entry.model}'s {WEIGHTS}")
        return LoadedModel(set_eval(model), state_dict_digest(bare.state_dict()), notes)

    def _folder(self, entry: ZooEntry) -> Path:
        return self.folder / entry.model.removeprefix("checkpoint:")

    def _origin(self, entry: ZooEntry) -> tuple[ZooEntry, Source]:
        """The zoo's model at the beginning, and where it comes from."""
        origin, place = self.origin(entry)
        return origin, self.open_source(origin.source, place, trust_code=self.trust_code)

    def _checked(self, entry: ZooEntry) -> Path:
        folder = self._folder(entry)
        if not (folder / FILE).is_file():
            raise ModelLoadError(
                f"{entry.model}: there is no such checkpoint in {self.folder}; see AUDITOR_CHECKPOINTS"
            )
        return folder


def write_checkpoint(
    folder: Path,
    number: int,
    state: "dict[str, Tensor]",
    origin: ZooEntry,
    *,
    place: Path | None,
    description: str,
    training: dict[str, Any],
) -> ZooEntry:
    """Make ``folder/number`` a checkpoint: the weights first, what they are last, each as a whole or not at all.

    Args:
        state: of the network as :func:`auditor.zoo.normalized.network_of` gives it.
        origin: the entry of the zoo's model whose architecture this is; ``place`` is its zoo's folder, if it has one.

    Returns:
        The checkpoint's own entry.

    Raises:
        EnvironmentUnusableError: it cannot be written; what was there before is still whole.
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
        "place": None if place is None else str(place),
    }
    target = folder / str(number)
    try:
        for name, whole in ((WEIGHTS, content), (FILE, json.dumps(about, indent=1).encode())):
            with write_atomically(target / name) as file:
                file.write(whole)
    except OSError as error:
        raise EnvironmentUnusableError(f"cannot write the checkpoint {target}: {first_line(error)}") from error
    return entry


def described(folder: Path) -> tuple[ZooEntry, ZooEntry, Path | None]:
    """A checkpoint's entry, that of the model it began as, and the folder of that one's zoo.

    Raises:
        EnvironmentUnusableError: what ``folder`` says of itself is missing or cannot be read.
    """
    try:
        stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
        entry, origin = (entry_from(stored[name]) for name in ("entry", "origin"))
        return entry, origin, Path(stored["place"]) if stored["place"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentUnusableError(f"cannot read the checkpoint's {folder / FILE}: {first_line(error)}") from error
