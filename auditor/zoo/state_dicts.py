"""The state dicts in a container, and what a model expects of one, both by names without what wrappers add to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auditor.errors import one_line

WRAPPERS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "_forward_module": "Fabric",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
"""Parts of names that wrappers leave behind, of a whole module or of modules inside it."""

IGNORED = {"total_ops": "a profiler", "total_params": "a profiler", "n_averaged": "AveragedModel"}
"""Last parts of names that no model needs."""

COUNTER = "num_batches_tracked"
"""Of batch norms: without effect in eval mode, and old checkpoints lack it."""

DEEPEST = 6

NAMED = 3


@dataclass(frozen=True)
class Found:
    """A state dict in a container.

    Attributes:
        key: the keys that lead to it, joined by dots; empty for the container itself.
        tensors: by their names without the parts of wrappers.
        raw: the name in the file of each of them.
        clean: takes the parts of wrappers out of a name.
        metadata: the versions of the modules, which torch keeps beside a state dict.
    """

    key: str
    tensors: dict[str, Tensor]
    raw: dict[str, str]
    clean: Callable[[str], str]
    metadata: Mapping[str, Any]


class Names:
    """What a model expects, by its names without the parts of wrappers.

    ``groups`` are the names of each tensor: of two names for one tensor a file needs to have one.
    """

    def __init__(self, expected: Mapping[str, Tensor], outer: str = "") -> None:
        clean = _cleaner(list(expected))
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
            shared.setdefault(place_of(expected[own]) if expected[own].numel() else own, []).append(name)
        self.groups = list(shared.values())

    def without_outer(self) -> "Names | None":
        """The same for a file that was saved from the one module that all of the model is in; None if there is none."""
        outer = {name.partition(".")[0] for name in self.own}
        if len(outer) != 1 or any("." not in name for name in self.own):
            return None
        return Names(self.expected, f"{outer.pop()}.")


def state_dicts(content: Any) -> Iterator[Found]:
    """All dicts of names and tensors in a container, the outer ones first."""
    level: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for path, value in level:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, dict) and (tensors := {k: v for k, v in value.items() if _is_weight(k, v)}):
                yield _found(path, tensors, _metadata_of(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            below += [
                (f"{path}.{key}".removeprefix("."), item)
                for key, item in items
                if isinstance(item, dict | list | tuple)
            ]
        level = below


def _metadata_of(value: dict[Any, Any]) -> dict[str, Any]:
    """The versions of modules beside a state dict, where they are what torch writes."""
    metadata = getattr(value, "_metadata", None)
    if not isinstance(metadata, dict):
        return {}
    return {key: about for key, about in metadata.items() if isinstance(key, str) and isinstance(about, dict)}


def place_of(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for the names of one tensor."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def first_names(names: Sequence[str]) -> str:
    return ", ".join(repr(one_line(name)) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _is_weight(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or not torch.is_tensor(value):
        return False
    return value.layout == torch.strided and not value.is_nested and value.device.type == "cpu"


def _found(path: str, tensors: dict[str, Tensor], metadata: Mapping[str, Any]) -> Found:
    clean = _cleaner(list(tensors))
    return Found(
        path,
        {clean(key): tensor for key, tensor in tensors.items()},
        {clean(key): key for key in tensors},
        clean,
        {clean(module): about for module, about in metadata.items()},
    )


def _cleaner(names: Sequence[str]) -> Callable[[str], str]:
    """Takes wrappers' parts out of names, but not where two names would become one."""
    return _without_wrappers if len({_without_wrappers(name) for name in names}) == len(names) else str


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def below_prefix(module: str, prefix: str) -> str | None:
    """A module's name below a prefix; None where it is elsewhere."""
    dotted = f"{module}." if module else ""
    return dotted.removeprefix(prefix).removesuffix(".") if dotted.startswith(prefix) else None
