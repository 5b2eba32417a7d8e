"""The state dicts in a container, and the names that a model expects, both without the parts that wrappers add."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import one_line
from auditor.zoo.wrapper_names import cleaner

IGNORED = {"total_ops": "a profiler", "total_params": "a profiler", "n_averaged": "AveragedModel"}
"""Last parts of names that no model needs."""

PLAIN = (Tensor, nn.Parameter, nn.Buffer)
"""The classes of tensors that a file may hold; others, such as DTensor, have only a part of the values, or rules."""

COUNTER = "num_batches_tracked"
"""A counter of batch norm; it has no effect in eval mode, and old checkpoints lack it."""

DEEPEST = 6

NAMED = 3


@dataclass(frozen=True)
class Candidate:
    """A state dict in a container.

    Attributes:
        key: the keys that lead to it, joined by dots; empty for the container itself.
        tensors: the tensors by their names without the parts of wrappers.
        raw: the name in the file for each of these names.
        clean: removes the parts of wrappers from a name.
        metadata: the versions of the modules, which torch stores with a state dict.
        unusable: what stands in place of a tensor, ``a sparse tensor``, by the names in the file.
    """

    key: str
    tensors: dict[str, Tensor]
    raw: dict[str, str]
    clean: Callable[[str], str]
    metadata: Mapping[str, Any]
    unusable: Mapping[str, str]


class ExpectedNames:
    """The tensors that a model expects, by names without the parts of wrappers.

    ``groups`` are the names of each tensor: if a tensor has two names, a file needs only one of them.
    """

    def __init__(self, expected: Mapping[str, Tensor], outer: str = "") -> None:
        clean = cleaner(list(expected))
        self.expected = expected
        self.outer = outer
        self.own = {clean(name).removeprefix(outer): name for name in expected}
        self.modules: dict[str, list[str]] = {}
        for module in getattr(expected, "_metadata", ()):
            below = below_prefix(clean(module), outer)
            if below is not None:
                self.modules.setdefault(below, []).append(module)
        shared: dict[Any, list[str]] = {}
        for name, own in self.own.items():
            shared.setdefault(storage_of(expected[own]) if expected[own].numel() else own, []).append(name)
        self.groups = list(shared.values())

    def without_outer(self) -> "ExpectedNames | None":
        """The same for a file that was saved from the only child module of the model; None if there are several."""
        outer = {name.partition(".")[0] for name in self.own}
        if len(outer) != 1 or any("." not in name for name in self.own):
            return None
        return ExpectedNames(self.expected, f"{outer.pop()}.")


def state_dicts(content: Any) -> Iterator[Candidate]:
    """All dicts of names and tensors in a container, the outer ones first."""
    level: list[tuple[str, Any]] = [("", content)] if isinstance(content, dict | list | tuple) else []
    seen: set[int] = set()
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for path, value in level:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, dict) and (tensors := {k: v for k, v in value.items() if _is_weight(k, v)}):
                others = {k: describe_value(v) for k, v in value.items() if isinstance(k, str) and k not in tensors}
                yield _found(path, tensors, _metadata_of(value), others)
            items = value.items() if isinstance(value, dict) else enumerate(value)
            below += [
                (f"{path}.{key}".removeprefix("."), item)
                for key, item in items
                if isinstance(item, dict | list | tuple)
            ]
        level = below


def _metadata_of(value: dict[Any, Any]) -> dict[str, Any]:
    """The versions of modules in a state dict, if they have the form that torch writes."""
    metadata = getattr(value, "_metadata", None)
    if not isinstance(metadata, dict):
        return {}
    return {key: about for key, about in metadata.items() if isinstance(key, str) and isinstance(about, dict)}


def storage_of(tensor: Tensor) -> tuple[Any, ...]:
    """A key that is equal for all names of one tensor."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def first_names(names: Sequence[str]) -> str:
    return ", ".join(repr(one_line(name)) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _is_weight(key: Any, value: Any) -> bool:
    return isinstance(key, str) and torch.is_tensor(value) and not _fault_of(value)


def _fault_of(tensor: Tensor) -> str:
    """What a tensor of a file is if it is no plain one, ``a sparse tensor``; empty for a plain one."""
    if tensor.layout != torch.strided:
        return "a sparse tensor"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.device.type != "cpu":
        return "a meta tensor, which has no values" if tensor.is_meta else f"a tensor on {tensor.device}"
    return "" if type(tensor) in PLAIN else f"a {type(tensor).__name__}"


def describe_value(value: Any) -> str:
    """What a value is that is no plain tensor, ``a sparse tensor`` or ``a list``."""
    if torch.is_tensor(value):
        return _fault_of(value)
    known = isinstance(value, bool | int | float | str | list | tuple | dict)
    return f"a {type(value).__name__}" if known else "an object (NumPy arrays are not read)"


def _found(
    path: str, tensors: dict[str, Tensor], metadata: Mapping[str, Any], unusable: Mapping[str, str]
) -> Candidate:
    clean = cleaner(list(tensors))
    return Candidate(
        path,
        {clean(key): tensor for key, tensor in tensors.items()},
        {clean(key): key for key in tensors},
        clean,
        {clean(module): about for module, about in metadata.items()},
        {clean(key): what for key, what in unusable.items()},
    )


def below_prefix(module: str, prefix: str) -> str | None:
    """A module's name without a prefix; None if it does not have the prefix."""
    dotted = f"{module}." if module else ""
    return dotted.removeprefix(prefix).removesuffix(".") if dotted.startswith(prefix) else None
