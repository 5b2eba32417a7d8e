"""One precision throughout: models may cast, and create constants in float32; the dtype of W decides."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

STRICT = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv1d", "conv2d", "conv3d", "einsum", "cat", "stack")
"""Operations that require one dtype for all their tensors."""

MODEL: ContextVar[torch.dtype] = ContextVar("MODEL", default=torch.float32)
"""The running model's own dtype, before auditor chose one: a cast to it returns the tensor itself."""

StandIn = Callable[..., Any]


def cast(function: StandIn) -> StandIn:
    """``float``, ``half``, …: the precision stays; a cast that would copy still copies."""
    with torch.no_grad():
        dtype = function(torch.zeros(0)).dtype

    def stand_in(input: Tensor, *_: Any, **__: Any) -> Tensor:
        return input if dtype == MODEL.get() else input.clone()

    return stand_in


def move(function: StandIn) -> StandIn:
    """``to``, ``type`` and ``type_as``: the device changes, the precision stays; casts to integers are kept."""

    def stand_in(input: Tensor, *arguments: Any, **named: Any) -> Any:
        with torch.no_grad():
            like = function(torch.zeros(0, dtype=MODEL.get(), device=input.device), *arguments, **named)
        if not isinstance(like, Tensor):
            return like  # `type()` returns a name
        if not like.is_floating_point():
            return function(input, *arguments, **named)
        if like.device != input.device:
            return input.to(like.device)
        return input if like.dtype == MODEL.get() and not named.get("copy") else input.clone()

    return stand_in


def aligned(arguments: Any) -> Any:
    """Floating-point tensors in nested arguments, all in the widest of their precisions."""
    floats = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    widest = None
    for tensor in floats:
        widest = tensor.dtype if widest is None else torch.promote_types(widest, tensor.dtype)
    if all(tensor.dtype == widest for tensor in floats):
        return arguments

    def widen(leaf: Any) -> Any:
        return leaf.to(widest) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return pytree.tree_map(widen, arguments)
