"""One precision throughout: models may cast, and make constants in float32; auditor decides what W is computed in."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

STRICT = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv1d", "conv2d", "conv3d", "einsum", "cat", "stack")
"""Operations that want one dtype of all their tensors."""


def keep(input: Tensor, *_: Any, **__: Any) -> Tensor:
    """A cast to another precision is dropped."""
    return input


def move(input: Tensor, *arguments: Any, **named: Any) -> Any:
    """``to``, ``type`` and ``type_as``: the device, not the precision; to integers as asked."""
    if not arguments and not named:
        return input.type()
    wanted = [value for value in (*arguments, *named.values()) if isinstance(value, torch.dtype | Tensor)]
    dtypes = [value.dtype if isinstance(value, Tensor) else value for value in wanted]
    if any(not dtype.is_floating_point for dtype in dtypes):
        return input.to(*arguments, **named)
    like = next((value for value in wanted if isinstance(value, Tensor)), None)
    if like is not None:
        return input.to(like.device)
    rest = [value for value in arguments if not isinstance(value, torch.dtype)]
    options = {key: value for key, value in named.items() if not isinstance(value, torch.dtype)}
    return input.to(*rest, **options) if rest or options else input


def aligned(arguments: Any) -> Any:
    """Floating-point tensors in nested arguments, all in the widest of their precisions."""
    floats = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    widest = None
    for tensor in floats:
        widest = tensor.dtype if widest is None else torch.promote_types(widest, tensor.dtype)
    if all(tensor.dtype == widest for tensor in floats):
        return arguments

    def cast(leaf: Any) -> Any:
        return leaf.to(widest) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return pytree.tree_map(cast, arguments)
