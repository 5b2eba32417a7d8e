"""A zoo.toml for one model, from the answers that `auditor init` collects."""

import ast
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from auditor.errors import ModelLoadError
from auditor.files import open_regular, read_limited
from auditor.zoo.file_types import INDEX, WEIGHT_TYPES, file_type

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".tar", ".index.json")
DEEPEST = 3
MOST_FILES = 5_000
TORCHVISION_FILE = "torchvision_network.py"
TORCHVISION_CODE = '''\
"""Written by `auditor init`: makes a network of torchvision, without weights."""

from torch import nn
from torchvision.models import get_model


def make(name: str, **arguments: object) -> nn.Module:
    return get_model(name, weights=None, **arguments)
'''

Channels = tuple[float, ...]


@dataclass(frozen=True)
class Architecture:
    """The network of a model: a name of timm or torchvision, or ``FILE.py:CLASS``, with the arguments that make it."""

    kind: Literal["timm", "torchvision", "python"]
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def runs_code(self) -> bool:
        """Whether the model is made by Python code in the zoo's folder, which needs ``--trust-code``."""
        return self.kind != "timm"


@dataclass(frozen=True)
class OwnData:
    """Test images with their classes in the order of the logits; ``superclasses`` maps groups to their classes."""

    name: str
    path: str
    classes: tuple[str, ...]
    superclasses: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Everything that a zoo.toml says about one model.

    Attributes:
        weights: the path of the file inside the folder.
        dataset: the name of a data set that auditor knows, or the description of other images.
        input_size: None for that of the data set, or timm's.
        mean, std: empty where the network normalizes by itself; None for timm's own values.
    """

    name: str
    weights: str
    architecture: Architecture
    dataset: str | OwnData
    input_size: tuple[int, int, int] | None
    mean: Channels | None
    std: Channels | None
    norm: str
    eps: str


def write_toml(draft: Draft) -> str:
    """The text of the zoo.toml, with comments that say what every line means."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    yield "# Written by `auditor init`. docs/local-zoos.md describes every key; `auditor zoo list local DIR` checks the"
    yield "# file and reports every mistake with its line. Add more models as further [[models]] tables."
    yield ""
    own = draft.dataset if isinstance(draft.dataset, OwnData) else None
    if own:
        yield f"[datasets.{_text(own.name)}]"
        yield f"path = {_text(own.path)}"
        yield "# The classes in the order of the logits."
        yield f"classes = {_list(own.classes)}"
        if own.superclasses:
            yield "# The groups of similar classes: the gap says how strongly the network's classes cluster along them."
            groups = ", ".join(f"{_text(group)} = {_list(names)}" for group, names in own.superclasses.items())
            yield f"superclasses = {{ {groups} }}"
        else:
            yield "# Without groups of similar classes there are no clustering scores. An example:"
            yield f"#superclasses = {{ group = {_list(own.classes[:2])}, others = […] }}"
        yield ""
    yield "[[models]]"
    yield f"name = {_text(draft.name)}    # results are listed as local:{draft.name}"
    yield f"weights = {_text(draft.weights)}"
    yield f"dataset = {_text(own.name if own else str(draft.dataset))}"
    yield f"architecture = {_architecture(draft.architecture)}"
    if draft.input_size is not None:
        yield f"input_size = {list(draft.input_size)}    # channels, height, width"
    if draft.mean is None or draft.std is None:
        yield "# mean and std are left out: those of timm's own training are used, with a note in the result."
    else:
        yield '# (x - mean) / std for pixels x from 0 to 1, one number per channel; "none" if the network normalizes.'
        yield f"mean = {list(draft.mean) if draft.mean else _text('none')}"
        yield f"std = {list(draft.std) if draft.std else _text('none')}"
    yield "# The attacks may change an image within this norm and radius, in units of pixels from 0 to 1."
    yield f"norm = {_text(draft.norm)}"
    yield f"eps = {_text(draft.eps)}"


def _architecture(chosen: Architecture) -> str:
    arguments = chosen.arguments
    if chosen.kind == "torchvision":
        arguments = {"name": chosen.name, **arguments}
    name = f"{TORCHVISION_FILE}:make" if chosen.kind == "torchvision" else chosen.name
    key = "timm" if chosen.kind == "timm" else "python"
    kwargs = ", ".join(f"{_text(key)} = {_value(value)}" for key, value in arguments.items())
    return f"{{ {key} = {_text(name)}{f', kwargs = {{ {kwargs} }}' if kwargs else ''} }}"


def _value(value: Any) -> str:
    """A plain value as TOML; JSON and TOML agree on texts, numbers, true and false."""
    return f"[{', '.join(map(_value, value))}]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, names))}]"


def find_weights(folder: Path) -> list[str]:
    """The weight files in a folder, by their suffixes and first bytes, as paths inside it; the shortest paths first."""
    found = []
    for path in _files(folder):
        try:
            if path.name.endswith(WEIGHT_SUFFIXES) and file_type(path) in (*WEIGHT_TYPES, INDEX):
                found.append(path.relative_to(folder).as_posix())
        except ModelLoadError:
            continue
    return sorted(found, key=lambda name: (name.count("/"), name))


def find_networks(folder: Path) -> list[str]:
    """``FILE.py:CLASS`` for each class in the folder's Python files that derives from a Module; no code runs."""
    found = []
    for path in _files(folder):
        if path.suffix == ".py" and path.name != TORCHVISION_FILE:
            file = path.relative_to(folder).as_posix()
            found += [f"{file}:{name}" for name in _callables(path)[0]]
    return sorted(found, key=lambda name: (name.count("/"), name))


def check_network(folder: Path, name: str) -> None:
    """Check that ``FILE.py:NAME`` is a class or a function at the top of a file in the folder; no code runs.

    Raises:
        ValueError: it is not; the message names what the file has.
    """
    file, _, called = name.rpartition(":")
    path = folder / file
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"expected a Python file inside {folder}, got {file!r}")
    networks, functions = _callables(path)
    if called not in (*networks, *functions):
        known = ", ".join((*networks, *functions)) or "nothing that can be called"
        raise ValueError(f"{file} has no class or function {called!r}; it has {known}")


def _callables(path: Path) -> tuple[list[str], list[str]]:
    """The classes that derive from something called Module, and the other classes and functions, at the top."""
    try:
        body = ast.parse(read_limited(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return [], []
    classes = {node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases] for node in body
               if isinstance(node, ast.ClassDef)}  # fmt: skip
    networks: list[str] = []
    for name, bases in classes.items():
        if any(base in ("Module", "Sequential", "LightningModule", *networks) for base in bases):
            networks.append(name)
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return networks, [*(name for name in classes if name not in networks), *functions]


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder that are not hidden, at most ``DEEPEST`` folders deep and ``MOST_FILES`` of them."""
    pending, count = [(folder, 0)], 0
    while pending and count < MOST_FILES:
        place, depth = pending.pop(0)
        try:
            entries = sorted(place.iterdir())
        except OSError:
            continue
        for entry in entries:
            count += 1
            if entry.name.startswith((".", "__")) or entry.is_symlink():
                continue
            if entry.is_dir() and depth < DEEPEST:
                pending.append((entry, depth + 1))
            elif entry.is_file():
                yield entry


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript program: a zip with a folder of code."""
    try:
        with open_regular(path) as stored, zipfile.ZipFile(stored) as file:
            return any(name.split("/")[1:2] == ["code"] for name in file.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False
