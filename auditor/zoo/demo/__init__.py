"""The demo zoo: small networks that were trained on Fashion-MNIST and ship with the package (docs/demo-zoo.md)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError
from auditor.files import largest_file
from auditor.records import ZooEntry
from auditor.zoo.source import LoadedModel

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class DemoZoo:
    """The shipped models, or those that ``python -m auditor.zoo.demo.build --out FOLDER`` wrote."""

    folder: Path = WEIGHTS
    preload: tuple[str, ...] = ("auditor.zoo.demo.networks",)

    def missing(self, entry: ZooEntry) -> str | None:  # noqa: ARG002
        return None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        return largest_file(self._file(entry) for entry in entries)

    def entries(self) -> list[ZooEntry]:
        manifest = self.folder / "manifest.json"
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            entries = [_entry(row, float(content["eps"])) for row in content["models"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EnvironmentUnusableError(f"cannot read the demo zoo's manifest {manifest}: {error}") from error
        if not entries:
            raise EnvironmentUnusableError(f"the demo zoo's manifest {manifest} names no model: build the zoo first")
        return entries

    def construct(self, entry: ZooEntry) -> "nn.Module":
        from auditor.zoo.demo.networks import ARCHITECTURES

        return ARCHITECTURES[entry.architecture["name"]]()

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.weights import fill, read_safetensors

        file = self._file(entry)
        state = read_safetensors(file, entry.file_sha256)
        model = self.construct(entry)
        fill(model, state, file.name)
        return LoadedModel(model.eval(), state_dict_digest(state))

    def _file(self, entry: ZooEntry) -> Path:
        return self.folder / f"{entry.model.removeprefix('demo:')}.safetensors"


def _entry(row: dict[str, Any], eps: float) -> ZooEntry:
    return ZooEntry(
        model=f"demo:{row['name']}",
        source="demo",
        description=row["description"],
        architecture={"name": row["architecture"]},
        preprocessing={"mean": [0.2860], "std": [0.3530]},
        dataset="fashion_mnist",
        threat_model="Linf",
        norm="Linf",
        eps=eps,
        input_size=(1, 28, 28),
        file_sha256=row["file_sha256"],
        training=row["recipe"],
    )
