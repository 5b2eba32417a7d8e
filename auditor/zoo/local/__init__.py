"""Local zoos: a folder of weights with a zoo.toml that says what they are (docs/local-zoos.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, ModelLoadError, UsageError
from auditor.files import largest_file
from auditor.records import ZooEntry
from auditor.zoo.local.reading import FILE, LocalModel, read_zoo
from auditor.zoo.local.tables import inside
from auditor.zoo.source import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EXAMPLE", "FILE", "LocalZoo"]

EXAMPLE = Path(__file__).parent / "example.toml"


@dataclass(frozen=True)
class LocalZoo:
    """The models of a folder. Its own Python runs only in :meth:`load`, and only with ``trust_code``."""

    folder: Path
    trust_code: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())

    @property
    def preload(self) -> tuple[str, ...]:
        return ("auditor.zoo.local.timm_models",) if any("timm" in e.architecture for e in self.entries()) else ()

    def entries(self) -> list[ZooEntry]:
        """Raises UsageError with all mistakes of zoo.toml, one a line."""
        return [model.entry for model in read_zoo(self.folder)]

    def missing(self, entry: ZooEntry) -> str | None:  # noqa: ARG002
        return None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        chosen = {entry.model for entry in entries}
        return largest_file(self.folder / one.weights for one in read_zoo(self.folder) if one.entry.model in chosen)

    def check(self, entries: Sequence[ZooEntry]) -> None:
        """Refuse entries that would run the folder's code where it is not trusted; to be asked before a scan.

        Raises:
            UsageError: names the models and the option.
        """
        names = [entry.model for entry in entries if "python" in entry.architecture]
        if names and not self.trust_code:
            raise UsageError(
                f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}: loading would run Python code in "
                f"{self.folder}; read it, then say --trust-code, or choose other models with --model"
            )

    def construct(self, entry: ZooEntry) -> "nn.Module":
        """As :meth:`auditor.zoo.source.Source.construct`; UsageError as :meth:`check`."""
        from auditor.zoo.normalized import normalized

        self.check([entry])
        return normalized(self._construct(entry.architecture).float(), entry.preprocessing)

    def load(self, entry: ZooEntry) -> LoadedModel:
        """As :meth:`auditor.zoo.source.Source.load`; UsageError as :meth:`check`."""
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import normalized
        from auditor.zoo.weights import fill, read_content

        self.check([entry])
        found = self._found(entry)
        try:
            path = inside(self.folder, found.weights)
        except ValueError as error:
            raise ModelLoadError(f"{entry.model}: {error}") from error
        content = read_content(path, entry.file_sha256)
        model = self._construct(entry.architecture).float()
        mended = fill(model, content, path.name, key=found.key, prefix=found.prefix)
        digest = state_dict_digest(model.state_dict())
        return LoadedModel(set_eval(normalized(model, entry.preprocessing)), digest, (*found.notes, *mended))

    def _found(self, entry: ZooEntry) -> LocalModel:
        """The model as the file has it now; what was asked for must not have changed meanwhile."""
        for model in read_zoo(self.folder, only=entry.model):
            now = model.entry
            if now.model == entry.model:
                asked = replace(entry, threat_model=now.threat_model, norm=now.norm, eps=now.eps)  # a scan's to choose
                if now != asked:
                    break
                return model
        raise ModelLoadError(f"{entry.model}: {FILE}, or the code it names, has changed meanwhile: scan again")

    def _construct(self, architecture: dict[str, Any]) -> "nn.Module":
        """The network with random weights, the same ones each time: buffers that no file holds are among them."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if "python" in architecture:
                from auditor.zoo.local import code

                file, _, function = architecture["python"].rpartition(":")
                folder = self.folder.resolve()
                return code.run(folder, inside(folder, file), function, architecture["kwargs"])
            try:
                from auditor.zoo.local import timm_models
            except ImportError as error:
                raise EnvironmentUnusableError("timm architectures need timm: install auditor[zoos]") from error
            return timm_models.create(architecture["timm"], architecture["kwargs"])
