"""What is known of a tensor that depends on the input: how it came to be, written onto the tensor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from auditor.linear.curves import Curve


@dataclass(frozen=True)
class Past:
    """How a tensor came to be.

    Attributes:
        layers: the linear layers on its longest way from the input.
        activated: an activation came after the last of them.
        constant: it has a gradient, of zero: a gate that was opened in place.
        discrete: it depends on the input and has no gradient, as comparisons have none.
        shares: a softmax made it share 1 among so many classes, or weights; 0 where none did.
        exponential: it is ``exp`` of this tensor.
        size_of, sign_of: it is this tensor's absolute value (or a power of it), or its sign.
        seen: it comes from the input, where parameters have gradients, too, and these cannot tell.
        frozen: the operation that became constant on the way from the input to this constant.
        twin: what this gate, which is constant, would be as an activation.
        curve: which function of one tensor it is, element by element, see :mod:`auditor.linear.curves`.
        difference: it is what the first of these returns minus the second, a constant.
        squared: it is the square of the first minus the second, a constant or None.
        energy: it is a sum of squares of values of the network.
        distance: it is the linear part of a squared distance.
        power, mean_power: it is this power of something, or a mean of such powers.
        log_sum_of: it is the log-sum-exp of this tensor.
    """

    layers: int = 0
    activated: bool = False
    constant: bool = False
    discrete: bool = False
    shares: int = 0
    exponential: Tensor | None = None
    size_of: Tensor | None = None
    sign_of: Tensor | None = None
    seen: bool = False
    frozen: str = ""
    twin: Tensor | None = None
    curve: Curve | None = None
    difference: tuple[Callable[[], Tensor], Tensor] | None = None
    squared: tuple[Callable[[], Tensor] | None, Tensor | None] | None = None
    energy: bool = False
    distance: bool = False
    power: float = 0.0
    mean_power: float = 0.0
    log_sum_of: Tensor | None = None


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


NO_MORE = {
    "size_of": None, "sign_of": None, "exponential": None, "curve": None, "difference": None, "squared": None,
    "energy": False, "distance": False, "power": 0.0, "mean_power": 0.0, "log_sum_of": None,
}  # fmt: skip
"""What a tensor that was changed in place is no longer."""


def inherit(
    result: Iterable[Tensor],
    parents: Sequence[Tensor],
    *,
    layer: bool,
    activation: bool,
    scaled: bool = False,
    averaged: bool = False,
) -> None:
    """Note on what came out of an operation what follows from its input-dependent arguments.

    ``scaled``: it only multiplies by constants or changes the shape; ``averaged``: it takes means or sums.
    """
    pasts = [past_of(parent) for parent in parents]
    layers = max(past.layers for past in pasts) + layer
    activated = activation or (not layer and all(past.activated for past in pasts))
    constant = all(past.constant for past in pasts)
    frozen = pasts[0].frozen if constant else ""
    shares = 0 if layer or activation or len(pasts) > 1 else pasts[0].shares
    first, alike = pasts[0], len(pasts) == 1 or len({past.mean_power for past in pasts}) == 1
    for tensor in result:
        shared = shares or past_of(tensor).shares
        constant_too = constant or past_of(tensor).constant
        if any(tensor is parent for parent in parents):  # changed in place: no longer what it was
            note(tensor, **NO_MORE)
            shared = shares
        note(tensor, layers=layers, activated=activated, constant=constant_too, shares=shared, seen=True)
        if frozen:
            note(tensor, frozen=frozen)
        if scaled and len(pasts) == 1:
            note(tensor, energy=first.energy, distance=first.distance)
        if (scaled or averaged) and alike:
            note(tensor, mean_power=first.mean_power or (first.power if averaged else 0.0))
