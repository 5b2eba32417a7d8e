"""Parts such as ``module.`` that wrappers add to the names of weights, and names without them."""

from collections.abc import Callable, Sequence

WRAPPERS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "_forward_module": "Fabric",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
"""Parts that wrappers add to the names of a module or of modules inside it."""


def cleaner(names: Sequence[str]) -> Callable[[str], str]:
    """A function that removes wrappers' parts from names, unless two names would become equal."""
    return _without_wrappers if len({_without_wrappers(name) for name in names}) == len(names) else str


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
