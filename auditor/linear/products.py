"""Products of two tensors that both depend on the input: the weighting becomes constant, the value path stays linear.

Which of two factors is the weighting? Of a matrix product it is the left one, as in attention, with a softmax or
without: ``weights @ values``, ``q @ (k.T @ v)``. Its constant mean is 1/n over the n entries that are summed. Of an
elementwise product it is the first of these: the result of a softmax, which becomes 1/n; a gate written by hand; the
factor that is broadcast over the other, as gates of channels or positions are; the factor with fewer linear layers
before it, because linear layers are kept; the factor that comes directly from an activation, as in SwiGLU; the left
factor, which is the query. These become 1, like every gate, or their limit if they are bounded, see
:mod:`auditor.linear.compositions`. A tensor times itself is an activation, and dropped.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.errors import LinearizationError
from auditor.linear.compositions import is_gate, opening
from auditor.linear.history import is_dependent, note, past_of
from auditor.linear.pointwise import stretched

StandIn = Callable[..., Any]


def _uniform(weighting: Tensor, summed: int) -> Tensor:
    return torch.full_like(weighting, 1 / max(1, summed), requires_grad=False)


def multiply(input: Any, other: Any, *, out: None = None) -> Any:
    """``input * other``, elementwise and broadcast."""
    if not (is_dependent(input) and is_dependent(other)):
        return torch.mul(input, other, out=out)
    value = _value_of(input, other)
    left_out = other if value is input else input
    is_gate = (value is input) != (value is other) and not past_of(left_out).discrete
    opened = opening(past_of(left_out)) if is_gate else None
    if opened is not None and not bool((opened == 1).all()):
        value = value * opened.to(value)
    shares = past_of(left_out).shares
    value = value / shares if shares and input is not other else value
    return stretched(value, input, other)


def multiply_in_place(input: Tensor, other: Any) -> Tensor:
    return input.copy_(multiply(input, other)) if is_dependent(input) and is_dependent(other) else input.mul_(other)


def add_product(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return torch.add(input, multiply(tensor1, tensor2), alpha=value)


def _value_of(left: Tensor, right: Tensor) -> Tensor:
    """The factor of an elementwise product that stays; see the module's docstring."""
    if left is right:
        return left
    for one, other in ((left, right), (right, left)):
        size_of = past_of(one).size_of
        if size_of is not None and size_of is past_of(other).sign_of:
            return size_of
        if past_of(other).discrete:
            return one
    if bool(past_of(left).shares) != bool(past_of(right).shares):
        return right if past_of(left).shares else left
    gates = is_gate(past_of(left).curve), is_gate(past_of(right).curve)
    if gates[0] != gates[1]:
        return right if gates[0] else left
    shape = np.broadcast_shapes(left.shape, right.shape)
    broadcast = _is_broadcast(left, shape), _is_broadcast(right, shape)
    if broadcast[0] != broadcast[1]:
        return right if broadcast[0] else left
    a, b = past_of(left), past_of(right)
    if a.layers != b.layers:
        return right if a.layers < b.layers else left
    if a.activated != b.activated:
        return right if a.activated else left
    return right


def _is_broadcast(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    repeated = any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))
    return tensor.shape != shape or repeated


def matrix_product(function: StandIn) -> StandIn:
    """``left @ right``, also in batches and with vectors."""

    def product(input: Tensor, other: Tensor, *arguments: Any, **named: Any) -> Any:
        if is_dependent(input) and is_dependent(other):
            input = _uniform(input, input.shape[-1])
        return function(input, other, *arguments, **named)

    return product


def add_matrix_product(function: StandIn) -> StandIn:
    """``input + left @ right``: addmm, baddbmm, addbmm, addmv."""

    def product(input: Tensor, left: Tensor, right: Tensor, **named: Any) -> Any:
        if is_dependent(left) and is_dependent(right):
            left = _uniform(left, left.shape[-1])
        elif past_of(input).energy and (is_dependent(left) or is_dependent(right)):
            input = torch.zeros_like(input, requires_grad=False)  # a norm of the input alone, see distances
        return function(input, left, right, **named)

    return product


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein sums: every input-dependent operand but the last is a weighting."""
    tensors = list(operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands)
    dependent = [place for place, tensor in enumerate(tensors) if is_dependent(tensor)]
    if len(dependent) > 1:
        itself = tensors[dependent[0]] is tensors[dependent[1]]
        if itself and past_of(tensors[dependent[0]]).difference is not None:
            raise LinearizationError(
                "einsum of a difference with itself has no linear stand-in: write (f - w).square()"
            )
        if not isinstance(equation, str):
            raise TypeError("einsum of two input-dependent tensors has a stand-in only if the equation is a string")
        inputs, arrow, output = equation.replace(" ", "").partition("->")
        letters = [term.replace("...", "") for term in inputs.split(",")]
        if not arrow:
            output = "".join(letter for letter in "".join(letters) if "".join(letters).count(letter) == 1)
        counted: set[str] = set()
        for place in dependent[:-1]:
            own, shape = letters[place], tensors[place].shape
            sizes = dict(zip(own, shape[len(shape) - len(own) :], strict=True))
            summed = [letter for letter in own if letter not in output and letter not in counted]
            counted.update(summed)
            tensors[place] = _uniform(tensors[place], math.prod(sizes[letter] for letter in summed))
        if itself and letters[dependent[0]] == letters[dependent[1]]:
            return note(torch.einsum(equation, *tensors), energy=True)  # a norm of the input alone, see distances
    return torch.einsum(equation, *tensors)


def divide(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """A divisor that depends on the input normalizes: it becomes 1; of exponentials it makes a softmax, 1/n."""
    if past_of(input).exponential is not None and is_dependent(other):
        return _shares(input, other)
    if is_dependent(other) and rounding_mode is None:
        dividend = input if isinstance(input, Tensor) else torch.full((), input, dtype=other.dtype, device=other.device)
        return stretched(dividend, other)
    return torch.div(input, other, rounding_mode=rounding_mode)


def _shares(input: Tensor, other: Tensor) -> Tensor:
    """A softmax written by hand: uniform over the summed entries, without those whose score is -inf."""
    scores = past_of(input).exponential
    assert scores is not None
    allowed = (~torch.isneginf(scores.detach())).to(input.dtype)
    if scores.shape != input.shape or bool(allowed.all()):
        return _uniform(input, input.numel() // max(1, other.numel()))
    sizes = (1,) * (input.ndim - other.ndim) + tuple(other.shape)
    summed = [place for place in range(input.ndim) if sizes[place] == 1 and input.shape[place] > 1]
    return allowed / allowed.sum(summed, keepdim=True).clamp_min(1)


def divide_in_place(input: Tensor, other: Any) -> Tensor:
    if past_of(input).exponential is not None and is_dependent(other):
        return note(input.copy_(divide(input, other)), constant=True)
    return input if is_dependent(other) else input.div_(other)


def divide_from_right(input: Tensor, other: Any) -> Any:
    """``other / input``, which Python calls on the right operand."""
    return divide(other, input)
