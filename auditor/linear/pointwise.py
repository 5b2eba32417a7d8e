"""Stand-ins that keep shapes: activations and normalizations are dropped, gates open, sizes become 1."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from auditor.linear.history import is_dependent, note, past_of

StandIn = Callable[..., Any]


def stretched(value: Tensor, *others: Any) -> Tensor:
    """A copy, broadcast as an operation on it and the others would be."""
    shapes = [other.shape for other in others if isinstance(other, Tensor)]
    return value.expand(np.broadcast_shapes(value.shape, *shapes)).clone()


def identity(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """A new tensor, as the operation would return: in-place changes of it must not reach the input."""
    return input if inplace else input.clone()


def identity_in_place(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def open_gate(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """A gate that lets everything pass: constant 1."""
    ones = torch.ones_like(input, requires_grad=False)
    return note(input.copy_(ones), constant=True) if inplace else ones


def gate(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """An open gate. If it multiplies nothing later, it was an activation, and its twin, the input, replaces it."""
    past = past_of(input)
    twin = note(input.clone(), layers=past.layers, activated=True, from_input=True)
    return note(open_gate(input, inplace=inplace), twin=twin)


def gate_in_place(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return gate(input, inplace=True)


def open_gate_in_place(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return open_gate(input, inplace=True)


def first_half(input: Tensor, dim: int = -1) -> Tensor:
    """A gated linear unit ``a * sigmoid(b)`` with its gate at 1."""
    return input.chunk(2, dim)[0].clone()


def unit_size(function: StandIn) -> StandIn:
    """The input's own statistics become the constant 1, in their shape."""

    def ones(*arguments: Any, **named: Any) -> Any:
        with torch.no_grad():
            return pytree.tree_map(torch.ones_like, function(*arguments, **named))

    return ones


def unit_size_and_mean(function: StandIn) -> StandIn:
    """``var_mean`` and ``std_mean``: the mean is linear and stays."""

    def pair(input: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        size, mean = function(input, *arguments, **named)
        return torch.ones_like(size, requires_grad=False), mean

    return pair


def magnitude(input: Tensor, *_: Any) -> Tensor:
    """The absolute value has no linear part. It, or a power of it, times the sign is the tensor again."""
    return note(input.abs(), size_of=input)


def sign(input: Tensor) -> Tensor:
    return note(input.sign(), sign_of=input)


def root(input: Tensor, *_: Any) -> Tensor:
    """A root is a size and becomes 1; the root of an absolute value may be multiplied by the sign later."""
    size_of = past_of(input).size_of
    return open_gate(input) if size_of is None else note(input.sqrt(), size_of=size_of)


def exponential(input: Tensor) -> Tensor:
    """``exp`` has no linear part; a softmax written by hand divides it by its sum."""
    return note(input.exp(), exponential=input)


def set_item(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``; a constant at positions that depend on the input makes an activation: dropped."""
    if past_of(index).discrete and not is_dependent(value):
        return
    input[index] = value


def power(input: Any, exponent: Any, *_: Any) -> Any:
    """A power is an activation; with an exponent of at most 0.5 it is a size."""
    if is_dependent(exponent):
        return torch.pow(input, exponent)
    if past_of(input).size_of is not None:
        return note(torch.pow(input, exponent), size_of=past_of(input).size_of)
    if bool((torch.as_tensor(exponent) <= 0.5).any()):
        return torch.ones_like(input, requires_grad=False)
    return input.clone()


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """A choice by the input's values; if one branch is a constant, it is an activation."""
    if input is None:
        return torch.where(condition)
    if condition.dtype != torch.bool and isinstance(input, Tensor) and input.dtype == torch.bool:
        condition, input = input, condition  # the method's order: input.where(condition, other)
    if not past_of(condition).discrete or is_dependent(input) == is_dependent(other):
        return torch.where(condition, input, other)
    stays, constant = (input, other) if is_dependent(input) else (other, input)
    return stretched(stays, condition, constant)
