"""How a tensor that depends on the input was computed, stored on the tensor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from auditor.linear.compositions import Curve


@dataclass(frozen=True)
class Past:
    """How a tensor was computed.

    Attributes:
        layers: the linear layers on its longest path from the input.
        activated: an activation came after the last of them.
        constant: it has a gradient, but of zero: a gate that was opened in place.
        discrete: it depends on the input and has no gradient, as comparisons have none.
        shares: the number of classes among which a softmax divided 1; 0 without a softmax.
        exponential: it is ``exp`` of this tensor.
        size_of, sign_of: it is this tensor's absolute value (or a power of it), or its sign.
        from_input: it depends on the input; needed if parameters have gradients, too, so that gradients do not tell.
        frozen: the operation that became constant on the way from the input to this constant.
        twin: the activation that this gate, which is constant, stands for.
        curve: which function of one tensor it is, element by element, see :mod:`auditor.linear.compositions`.
        opens_to: it is a bounded function of one tensor in another shape, and this is its one limit on the right.
        difference: it is what the first of these returns minus the second, a constant.
        squared: it is the square of the first minus the second, a constant or None.
        energy: it is a sum of squares of values of the network.
        distance: it is the linear part of a squared distance.
        power, mean_power: it is this power of something, or a mean of such powers.
        log_sum_of: it is the log-sum-exp of this tensor.
        largest_of: it stands for the larger, or smaller, of so many tensors; 0 if it does not.
        one_function: it stacks functions of one tensor along this dimension; None if it does not.
    """

    layers: int = 0
    activated: bool = False
    constant: bool = False
    discrete: bool = False
    shares: int = 0
    exponential: Tensor | None = None
    size_of: Tensor | None = None
    sign_of: Tensor | None = None
    from_input: bool = False
    frozen: str = ""
    twin: Tensor | None = None
    curve: Curve | None = None
    opens_to: Tensor | None = None
    difference: tuple[Callable[[], Tensor], Tensor] | None = None
    squared: tuple[Callable[[], Tensor] | None, Tensor | None] | None = None
    energy: bool = False
    distance: bool = False
    power: float = 0.0
    mean_power: float = 0.0
    log_sum_of: Tensor | None = None
    largest_of: int = 0
    one_function: int | None = None


NOTHING = Past()


def past_of(value: object) -> Past:
    """What is stored on a tensor; ``NOTHING`` for other values."""
    found = value.__dict__.get("_past", NOTHING) if isinstance(value, Tensor) else NOTHING
    return found if isinstance(found, Past) else NOTHING


def note(tensor: Tensor, **changes: Any) -> Tensor:
    """Store changes on the tensor, and return it."""
    tensor.__dict__["_past"] = replace(past_of(tensor), **changes)
    return tensor


LEARNING: ContextVar[bool] = ContextVar("LEARNING", default=False)
"""Whether parameters have gradients while the linearized network runs."""


def sees_input(tensor: Tensor) -> bool:
    """Whether a gradient leads from this tensor to the network's input."""
    return tensor.requires_grad and (past_of(tensor).from_input or not LEARNING.get())


def is_dependent(value: object) -> bool:
    """Whether a value depends on the network's input, with a gradient or without."""
    if not isinstance(value, Tensor):
        return False
    past = past_of(value)
    return past.discrete or (sees_input(value) and not past.constant)


CHANGED_IN_PLACE = {
    "size_of": None, "sign_of": None, "exponential": None, "curve": None, "opens_to": None, "difference": None,
    "squared": None, "energy": False, "distance": False, "power": 0.0, "mean_power": 0.0, "log_sum_of": None,
    "largest_of": 0, "one_function": None,
}  # fmt: skip
"""The values that an in-place change resets."""


def inherit(
    result: Iterable[Tensor],
    parents: Sequence[Tensor],
    *,
    layer: bool,
    activation: bool,
    scaled: bool = False,
    averaged: bool = False,
) -> None:
    """Store on an operation's results what follows from its input-dependent arguments.

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
        if any(tensor is parent for parent in parents):  # changed in place
            note(tensor, **CHANGED_IN_PLACE)
            shared = shares
        note(tensor, layers=layers, activated=activated, constant=constant_too, shares=shared, from_input=True)
        if frozen:
            note(tensor, frozen=frozen)
        if scaled and len(pasts) == 1:
            note(tensor, energy=first.energy, distance=first.distance)
        if (scaled or averaged) and alike:
            note(tensor, mean_power=first.mean_power or (first.power if averaged else 0.0))
