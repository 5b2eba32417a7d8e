"""What is known of a tensor that depends on the input: how it came to be, written onto the tensor itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Past:
    """How a tensor came to be.

    Attributes:
        layers: the linear layers on its longest way from the input.
        activated: an activation came after the last of them.
        constant: it has a gradient, of zero: a gate that was opened in place.
        discrete: it depends on the input and has no gradient, as comparisons have none.
        shares: a softmax made it share 1 among so many classes, or weights; 0 where none did.
        exponential: it is ``exp`` of something.
        size_of, sign_of: it is this tensor's absolute value (or a power of it), or its sign.
        seen: it comes from the input, where parameters have gradients, too, and these cannot tell.
    """

    layers: int = 0
    activated: bool = False
    constant: bool = False
    discrete: bool = False
    shares: int = 0
    exponential: bool = False
    size_of: Tensor | None = None
    sign_of: Tensor | None = None
    seen: bool = False


NOTHING = Past()


def past_of(value: object) -> Past:
    """What was noted on a tensor; nothing for everything else."""
    found = value.__dict__.get("_past", NOTHING) if isinstance(value, Tensor) else NOTHING
    return found if isinstance(found, Past) else NOTHING


def note(tensor: Tensor, **changes: object) -> Tensor:
    """The tensor, with changes to what is known of it."""
    tensor.__dict__["_past"] = replace(past_of(tensor), **changes)  # type: ignore[arg-type]
    return tensor


LEARNING: ContextVar[bool] = ContextVar("LEARNING", default=False)
"""Whether parameters have gradients while the linearized network runs."""


def sees_input(tensor: Tensor) -> bool:
    """Whether a gradient leads from this tensor to the network's input."""
    return tensor.requires_grad and (past_of(tensor).seen or not LEARNING.get())


def is_dependent(value: object) -> bool:
    """Whether a value depends on the network's input, with a gradient or without."""
    if not isinstance(value, Tensor):
        return False
    past = past_of(value)
    return past.discrete or (sees_input(value) and not past.constant)


def inherit(result: Iterable[Tensor], parents: Sequence[Tensor], *, layer: bool, activation: bool) -> None:
    """Note on what came out of an operation what follows from its input-dependent arguments."""
    pasts = [past_of(parent) for parent in parents]
    layers = max(past.layers for past in pasts) + layer
    activated = activation or (not layer and all(past.activated for past in pasts))
    constant = all(past.constant for past in pasts)
    shares = 0 if layer or activation or len(pasts) > 1 else pasts[0].shares
    for tensor in result:
        shared = shares or past_of(tensor).shares
        note(tensor, layers=layers, activated=activated, constant=constant, shares=shared, seen=True)
        if any(tensor is parent for parent in parents):  # changed in place: no longer what it was
            note(tensor, size_of=None, sign_of=None, exponential=False, shares=shares)
