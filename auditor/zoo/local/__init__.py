"""Local zoos: a folder of weights with a zoo.toml that describes them (docs/local-zoos.md)."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import EnvironmentUnusableError, ModelLoadError, UsageError
from auditor.files import file_sha256, largest_file
from auditor.records import ZooEntry
from auditor.zoo.file_types import INDEX, WEIGHT_TYPES, file_type
from auditor.zoo.local.graphs import Kind, kind_of, load_graph
from auditor.zoo.local.mlflow_registry import fetch_registered, is_registered
from auditor.zoo.local.tables import resolve_inside
from auditor.zoo.local.zoo_file import FILE, LocalModel, read_zoo
from auditor.zoo.source import LoadedModel

if TYPE_CHECKING:
    from torch import nn

    from auditor.zoo.local.graphs import Graph

__all__ = ["EXAMPLE", "FILE", "LocalZoo", "runs_code", "with_graph_digest"]

EXAMPLE = Path(__file__).parent / "example.toml"


def runs_code(entry: ZooEntry) -> bool:
    """Whether loading a model of a local zoo runs code of its folder: Python, or a program of torch.export."""
    return "python" in entry.architecture or "export" in entry.architecture


def with_graph_digest(entry: ZooEntry, loaded: LoadedModel) -> ZooEntry:
    """The entry with the digest of its ONNX file, which a checkpoint needs: its weights fit only that file's graph.

    The entries of programs and Python code already have digests, and those of other networks name versions.
    """
    if "onnx" not in entry.architecture:
        return entry
    return replace(entry, architecture=entry.architecture | {"sha256": loaded.weights_sha256})


@dataclass(frozen=True)
class LocalZoo:
    """The models of a folder. Code in the folder runs only in :meth:`load`, and only with ``trust_code``."""

    folder: Path
    trust_code: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())

    @property
    def preload(self) -> tuple[str, ...]:
        return ("auditor.zoo.local.timm_models",) if any("timm" in e.architecture for e in self.entries()) else ()

    def entries(self) -> list[ZooEntry]:
        """Raises UsageError with all mistakes in zoo.toml, one in each line."""
        return [model.entry for model in read_zoo(self.folder)]

    def missing(self, entry: ZooEntry) -> str | None:
        return self._registered.get(entry.model)

    @functools.cached_property
    def _registered(self) -> dict[str, str]:
        """The weights in MLflow's registry, by model; read once, because a scan asks for each of its models."""
        return {
            one.entry.model: f"{one.weights} of MLflow's registry"
            for one in read_zoo(self.folder)
            if is_registered(one.weights)
        }

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        chosen = {entry.model for entry in entries}
        return largest_file(self.folder / one.weights for one in read_zoo(self.folder) if one.entry.model in chosen)

    def find_bad_weights(self) -> Iterator[str]:
        """What is wrong with the files of weights, one line each: missing, of no known type, or of another digest.

        Raises:
            UsageError: zoo.toml has mistakes.
        """
        for model in read_zoo(self.folder):
            if is_registered(model.weights):
                continue
            name, expected = model.entry.model, model.entry.file_sha256
            try:
                path = resolve_inside(self.folder, model.weights)
                kind = file_type(path)
            except (ValueError, ModelLoadError) as error:
                yield f"{name}: {error}"
                continue
            if kind not in (*WEIGHT_TYPES, INDEX) and kind_of(model.weights) is None:
                yield f"{name}: expected weights in {model.weights}, got {kind}"
            elif expected is not None:
                try:
                    got = file_sha256(path)
                except OSError as error:
                    yield f"{name}: cannot read the weights {path}: {error.strerror}"
                    continue
                if got != expected:
                    yield f"{name}: expected {model.weights} with SHA-256 {expected[:16]}…, got {got[:16]}…"

    def check(self, entries: Sequence[ZooEntry]) -> None:
        """Refuse entries whose loading runs code of the folder, unless it is trusted; called before a scan.

        Raises:
            UsageError: the code is not trusted; the message names the models and the option.
        """
        if self.trust_code:
            return
        for key, action, first in (
            ("python", "would run Python code in", "read that code and"),
            ("export", "can run code from programs of torch.export in", "if you trust whoever made them,"),
        ):
            names = [entry.model for entry in entries if key in entry.architecture]
            if names:
                raise UsageError(
                    f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}: loading {action} "
                    f"{self.folder}: {first} add --trust-code, or choose other models with --model"
                )

    def construct(self, entry: ZooEntry) -> "nn.Module":
        """As :meth:`auditor.zoo.source.Source.construct`; UsageError as :meth:`check`."""
        from auditor.zoo.normalized import normalized

        self.check([entry])
        graph = self._graph(entry)
        network = graph.network if graph else self._construct(entry)
        return normalized(network.float(), entry.preprocessing)

    def load(self, entry: ZooEntry) -> LoadedModel:
        """As :meth:`auditor.zoo.source.Source.load`; UsageError as :meth:`check`."""
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import normalized
        from auditor.zoo.weights import fill, read_content

        self.check([entry])
        local_model = self._find_unchanged(entry)
        if graph := self._graph(entry):
            model = set_eval(normalized(graph.network, entry.preprocessing))
            return LoadedModel(model, graph.sha256, (*local_model.notes, *graph.notes))
        path, origin, beneath = self._resolve(entry, local_model.weights)
        content = read_content(path, entry.file_sha256, beneath=beneath)
        model = self._construct(entry).float()
        notes = fill(model, content, path.name, key=local_model.key, prefix=local_model.prefix)
        notes = (*local_model.notes, *origin, *notes)
        return LoadedModel(
            set_eval(normalized(model, entry.preprocessing)), state_dict_digest(model.state_dict()), notes
        )

    def _find_unchanged(self, entry: ZooEntry) -> LocalModel:
        """The model in the current file, whose entry must be the same as at the beginning of the scan."""
        for model in read_zoo(self.folder, only=entry.model):
            current = model.entry
            if current.model == entry.model:
                # A scan may choose another threat model.
                expected = replace(entry, threat_model=current.threat_model, norm=current.norm, eps=current.eps)
                if current != expected:
                    break
                return model
        raise ModelLoadError(
            f"{entry.model}: {FILE}, or the code that it names, has changed since the scan began: scan again"
        )

    def _graph(self, entry: ZooEntry) -> "Graph | None":
        """The network in the file of weights, if that is an ONNX file or a program of torch.export."""
        from auditor.zoo.weights import check_digest

        kinds: tuple[Kind, ...] = ("onnx", "export")
        for kind in kinds:
            if kind in entry.architecture:
                path, origin, beneath = self._resolve(entry, entry.architecture[kind])
                expected = entry.architecture.get("sha256")
                # of an ONNX file it covers external data, too, which is known once the file is parsed and runs nothing
                digests = (entry.file_sha256, expected) if kind == "export" else (entry.file_sha256,)
                graph = load_graph(kind, path, entry.input_size, entry.preprocessing, digests, beneath)
                check_digest(graph.sha256, expected, path.name)
                return replace(graph, notes=(*origin, *graph.notes))
        return None

    def _resolve(self, entry: ZooEntry, name: str) -> tuple[Path, tuple[str, ...], Path | None]:
        """The file of a model's weights, notes on where it came from, and the folder that it must be in."""
        if is_registered(name):
            path, note = fetch_registered(name)
            return path, (note,), None
        try:
            return resolve_inside(self.folder, name), (), self.folder.resolve()
        except ValueError as error:
            raise ModelLoadError(f"{entry.model}: {error}") from error

    def _construct(self, entry: ZooEntry) -> "nn.Module":
        """The network with the same random weights each time, because some buffers are in no file."""
        import torch

        from auditor.torch_state import default_modes

        architecture = entry.architecture
        with default_modes(exact=False), torch.random.fork_rng(devices=[]):  # which the folder's code may change
            torch.manual_seed(0)
            if "python" in architecture:
                from auditor.zoo.local import code

                file, _, function = architecture["python"].rpartition(":")
                folder = self.folder.resolve()
                return code.build_network(folder, resolve_inside(folder, file), function, architecture["kwargs"])
            try:
                from auditor.zoo.local import timm_models
            except ImportError as error:
                raise EnvironmentUnusableError("timm architectures need timm: pip install 'auditor[timm]'") from error
            return timm_models.create(architecture["timm"], architecture["kwargs"])
