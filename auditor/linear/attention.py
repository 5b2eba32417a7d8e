"""Attention stand-ins: a weighting by the input's own scores becomes its constant mean over what the mask allows."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.linear.history import is_dependent, note, past_of, sees_input
from auditor.linear.pointwise import stretched

MASK = -1e4
"""Scores of at most this count as masked; half precision can still represent 1e4."""

BELOW = 50.0
"""Added scores this far below the others are masked, too (Swin's are -100): e to the -50 is negligible."""


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A huge negative number masks attention scores like -inf; a mask that depends on the input is an activation."""
    if past_of(mask).discrete:
        return input.clone()
    return input.masked_fill(mask, -torch.inf if float(value) <= MASK else value)


def masked_fill_in_place(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    return input if past_of(mask).discrete else input.masked_fill_(mask, -torch.inf if float(value) <= MASK else value)


def add(input: Any, other: Any, *, alpha: float = 1, out: None = None) -> Any:
    """A sum. An added mask, a tensor of zeros and one number far below them, masks like -inf.

    A norm of the input alone is dropped from a sum with something else, see :mod:`auditor.linear.distances`.
    """
    for scores, mask in ((input, other), (other, input)):
        if alpha == 1 and isinstance(mask, Tensor) and not is_dependent(mask) and _is_mask(mask):
            return scores + torch.zeros_like(mask).masked_fill(mask < 0, -torch.inf)
    if is_dependent(input) and is_dependent(other) and past_of(input).energy != past_of(other).energy:
        return stretched(input, other) if past_of(other).energy else stretched(alpha * other, input)
    result = torch.add(input, other, alpha=alpha, out=out)
    return after_sum(result, input, other) if alpha == 1 else result


def after_sum(result: Any, input: Any, other: Any) -> Any:
    """A sum with a constant is a difference; a norm or a distance stays one."""
    for value, constant in ((input, other), (other, input)):
        if is_dependent(value) and not is_dependent(constant):
            past = past_of(value)
            note(result, energy=past.energy, distance=past.distance)
            if isinstance(constant, Tensor) and constant.is_floating_point() and value.is_floating_point():
                note(result, difference=(lambda value=value: value, -constant))
    return result


def _is_mask(tensor: Tensor) -> bool:
    if tensor.ndim < 2 or not tensor.is_floating_point() or not tensor.numel():
        return False
    lowest = tensor.min()
    zero = tensor == 0
    return bool(lowest <= -BELOW) and bool(zero.any()) and bool((zero | (tensor == lowest)).all())


def add_in_place(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    return input.copy_(add(input, other, alpha=alpha))


def uniform_weights(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    """Softmax of equal scores: 1/n over the n entries that are not masked by -inf, 0 elsewhere.

    Of ``(N, K)`` it gives probabilities of classes and not weights of keys, so it is dropped like log-softmax. If the
    probabilities weight something later, they count as 1/K each, see :mod:`auditor.linear.products`.
    """
    dim = -1 if dim is None else dim
    if input.ndim == 2 and dim in (1, -1):
        return note(input.clone(), shares=input.shape[1])
    allowed = (~torch.isneginf(input.detach())).to(input.dtype)
    return allowed / allowed.sum(dim, keepdim=True).clamp_min(1)


def uniform_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> Tensor:
    """Attention ``(…, L, E)`` that weighs each key the mask allows alike, so that the value path stays linear."""
    if not sees_input(query) and not sees_input(key):  # a weighting that does not depend on the input stays
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **_)
    scores = query.new_zeros(*query.shape[:-1], key.shape[-2], requires_grad=False)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(_banned(attn_mask), -torch.inf)
    if value.ndim > 3 and value.shape[-3] != query.shape[-3]:  # grouped queries share their keys and values
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    return uniform_weights(scores, -1) @ value


def _banned(mask: Tensor) -> Tensor:
    """Where attention is forbidden; in masks that depend on the input, such as relative positions, only at -inf."""
    if mask.dtype == torch.bool:
        return ~mask
    return torch.isneginf(mask) if is_dependent(mask) else mask <= mask.amax(-1, keepdim=True) - BELOW
