"""Squared distances and norms by hand: ``|f - w|² = |f|² - 2 f·w + |w|²``, where ``|f|²`` depends on the input alone.

``|f|²`` is common to all classes, so it changes no prediction and is dropped; ``-2 f·w + |w|²`` is linear and stays. A
root of a distance is dropped like an activation, because it keeps the ranking of the classes. A square that is not part
of a distance is an activation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.errors import LinearizationError
from auditor.linear.attention import after_sum
from auditor.linear.history import is_dependent, note, past_of
from auditor.linear.pointwise import power, stretched, unit_size
from auditor.linear.products import matrix_product, multiply

StandIn = Callable[..., Any]


def subtract(input: Any, other: Any, *, alpha: float = 1, out: None = None) -> Any:
    """A difference; from a constant it may be the start of a distance; a norm of the input alone is dropped."""
    if alpha == 1 and isinstance(input, Tensor) and past_of(other).log_sum_of is input:
        return note(input.clone(), shares=past_of(input).shares)  # log-softmax by hand
    if is_dependent(input) and is_dependent(other) and past_of(input).energy != past_of(other).energy:
        return stretched(input, other) if past_of(other).energy else stretched(-alpha * other, input)
    result = torch.sub(input, other, alpha=alpha, out=out)
    if alpha != 1 or is_dependent(input) == is_dependent(other):
        return result
    return after_sum(result, input, -other) if is_dependent(input) else _reversed(result, input, other)


def _reversed(result: Tensor, constant: Any, value: Tensor) -> Tensor:
    """``constant - value`` is the difference of ``-value`` and ``-constant``."""
    past = past_of(value)
    note(result, energy=past.energy, distance=past.distance)
    if isinstance(constant, Tensor) and constant.is_floating_point():
        note(result, difference=(lambda: -value, -constant))
    return result


def subtract_in_place(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    if is_dependent(input) and is_dependent(other):
        return input.copy_(subtract(input, other, alpha=alpha))
    return input.sub_(other, alpha=alpha)


def subtract_from_right(input: Tensor, other: Any, *, alpha: float = 1) -> Any:
    return subtract(other, input, alpha=alpha)


def square(input: Tensor, *_: Any) -> Tensor:
    """An activation, and maybe a term of a distance or of a norm."""
    return note(input.clone(), squared=past_of(input).difference or (None, None), power=2.0)


def raise_to(input: Any, exponent: Any, *others: Any) -> Any:
    """A power. Of a power mean it is the mean if the exponents cancel; of a distance it is the distance."""
    if is_dependent(exponent) or not isinstance(input, Tensor):
        return power(input, exponent, *others)
    if past_of(input).distance and float(exponent) > 0:
        return note(input.clone(), distance=True)
    single = not isinstance(exponent, Tensor) or exponent.numel() == 1
    if single and abs(past_of(input).mean_power * float(exponent) - 1) < 1e-6:
        return input.clone()
    if single and float(exponent) == 2 and past_of(input).size_of is None:
        return square(input)
    result = power(input, exponent, *others)
    return note(result, power=float(exponent)) if single and result.requires_grad else result


def root(function: StandIn) -> StandIn:
    """A root. Of a distance it ranks like the distance; of a mean of squares it is a power mean; else a size: 1."""

    def stand_in(input: Tensor, *arguments: Any, **named: Any) -> Any:
        if past_of(input).distance:
            return note(input.clone(), distance=True)
        if past_of(input).mean_power == 2:
            return input.clone()
        return function(input, *arguments, **named)

    return stand_in


def total(function: StandIn) -> StandIn:
    """``sum`` and ``mean``: of squared differences from a constant that varies where they sum, a squared distance."""

    def summed(input: Tensor, *arguments: Any, **named: Any) -> Tensor:
        squared = past_of(input).squared
        result: Tensor = function(input, *arguments, **named)
        if squared is None:
            return result
        features, constant = squared
        if features is None or constant is None:
            return note(result, energy=True)
        dims = named.get("dim", named.get("axis", arguments[0] if arguments else None))
        if not _varies(constant, dims, input.ndim):
            return result
        parts = stretched(constant.square() - 2 * constant * features(), input)
        return note(function(parts, *arguments, **named), distance=True)

    return summed


def _varies(constant: Tensor, dims: Any, dimensions: int) -> bool:
    places = range(dimensions) if dims is None else dims if isinstance(dims, Sequence) else (dims,)
    shape = (1,) * (dimensions - constant.ndim) + tuple(constant.shape)
    return any(shape[place] > 1 for place in places)


def norm(function: StandIn) -> StandIn:
    """The norm of a difference from a constant is a distance; other norms are sizes: 1."""
    size = unit_size(function)

    def stand_in(input: Tensor, *arguments: Any, **named: Any) -> Any:
        difference = past_of(input).difference
        order = named.get("p", named.get("ord", arguments[0] if arguments else 2))
        dims = named.get("dim", arguments[1] if len(arguments) > 1 else None)
        keepdim = bool(named.get("keepdim", arguments[2] if len(arguments) > 2 else False))
        if difference is None or not _varies(difference[1], dims, input.ndim):
            return size(input, *arguments, **named)
        if order not in (2, 2.0, None, "fro"):
            raise LinearizationError(f"norm: a distance of order {order} has no linear part; order 2 has")
        places = tuple(range(input.ndim)) if dims is None else dims
        return note(total(torch.sum)(square(input), places, keepdim), distance=True)

    return stand_in


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, *_: Any, **__: Any) -> Tensor:
    """Distances of all pairs ``(…, P, D)`` and ``(…, R, D)``."""
    if p != 2:
        raise LinearizationError(f"cdist: a distance of order {p} has no linear part; order 2 has")
    return distance(x1.unsqueeze(-2), x2.unsqueeze(-3), "cdist")


def pairwise_distance(
    x1: Tensor,
    x2: Tensor,
    p: float = 2.0,
    eps: float = 1e-6,  # noqa: ARG001
    keepdim: bool = False,
) -> Tensor:
    if p != 2:
        raise LinearizationError(f"pairwise_distance: a distance of order {p} has no linear part; order 2 has")
    result = distance(x1, x2, "pairwise_distance")
    return note(result.unsqueeze(-1), distance=True) if keepdim else result


def distance(x1: Tensor, x2: Tensor, name: str) -> Tensor:
    if is_dependent(x1) and is_dependent(x2):
        raise LinearizationError(f"{name}: the distance of two tensors that both depend on the input has no rule")
    constant, features = (x2, x1) if is_dependent(x1) else (x1, x2)
    return note((constant.square() - 2 * constant * features).sum(-1), distance=True)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The product of unit vectors, where the size of what depends on the input is 1."""
    one, other = (x if is_dependent(x) else F.normalize(x, dim=dim, eps=eps) for x in (x1, x2))
    product: Tensor = multiply(one, other)
    return product.sum(dim)


def log_sum_exp(function: StandIn) -> StandIn:
    def stand_in(input: Tensor, *arguments: Any, **named: Any) -> Tensor:
        return note(function(input, *arguments, **named), log_sum_of=input)

    return stand_in


def scaled(function: StandIn, *, commutes: bool = True) -> StandIn:
    """A product with a constant scales both sides of a difference; a product with itself is a square."""

    def stand_in(input: Any, other: Any, *arguments: Any, **named: Any) -> Any:
        result = function(input, other, *arguments, **named)
        for value, by in ((input, other), (other, input))[: 2 if commutes else 1]:
            if not is_dependent(by):
                _follow(result, value, lambda side, by=by: function(side, by, *arguments, **named))
        if commutes and _same(input, other):
            note(result, squared=past_of(input).difference or (None, None), power=2.0)
        return result

    return stand_in


def _same(input: Any, other: Any) -> bool:
    """Whether both factors are one tensor, or one difference that was computed twice."""
    if input is other or not (is_dependent(input) and is_dependent(other)):
        return input is other and is_dependent(input)
    one, two = past_of(input).difference, past_of(other).difference
    if one is None or two is None or one[1].shape != two[1].shape or not torch.equal(one[1], two[1]):
        return False
    return bool(torch.equal(one[0](), two[0]()))


def _follow(result: Any, value: Any, step: StandIn) -> None:
    """A linear step applied to a difference gives the difference of the step applied to both sides."""
    difference = past_of(value).difference
    if difference is not None and result is not value:
        left, right = difference
        note(result, difference=(lambda: step(left()), step(right)))


def negative(input: Tensor) -> Tensor:
    result = torch.neg(input)
    _follow(result, input, torch.neg)
    return result


def projected(function: StandIn) -> StandIn:
    """A matrix product of a difference and constants is the difference of the products."""
    product = matrix_product(function)

    def stand_in(input: Tensor, other: Tensor, *arguments: Any, **named: Any) -> Any:
        result = product(input, other, *arguments, **named)
        if not is_dependent(other) and isinstance(past_of(input).difference, tuple):
            _follow(result, input, lambda side: function(side if side.ndim > 1 else side.unsqueeze(0), other))
        return result

    return stand_in


def fully_connected(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = F.linear(input, weight, bias)
    if bias is None:
        _follow(result, input, lambda side: F.linear(side, weight))
    return result
