"""What each non-linear operation becomes: one row an operation (Bai et al., 2021, section 3, and docs/method.md).

A rule is applied where an operation's input depends on the network's input, and only there: batch norm called on
*weights*, as weight standardization does, stays what it is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

StandIn = Callable[..., Any]

MASK = -1e4
"""Scores as low as this count as masked; 1e4 is what half precision can still hold."""


@dataclass(frozen=True)
class Rule:
    """The operations of these names, wherever torch keeps them, become ``stand_in``, for this reason."""

    operations: str
    stand_in: StandIn
    reason: str


def identity(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """A tensor of its own, as the operation would have returned: what works on it in place must not reach the input."""
    return input if inplace else input.clone()


def identity_in_place(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def open_gate(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """A gate that lets everything pass: constant 1."""
    ones = torch.ones_like(input, requires_grad=False)
    return input.copy_(ones) if inplace else ones


def open_gate_in_place(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return open_gate(input, inplace=True)


def first_half(input: Tensor, dim: int = -1) -> Tensor:
    """A gated linear unit ``a * sigmoid(b)`` with its gate at 1."""
    return input.chunk(2, dim)[0].clone()


def refuse(*_: Any, **__: Any) -> Tensor:
    raise TypeError("max pooling that returns indices has no linear stand-in")


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A huge negative number masks attention scores as -inf does."""
    return input.masked_fill(mask, -torch.inf if float(value) <= MASK else value)


def uniform_weights(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    """Softmax of equal scores: 1/n over the n entries that are not masked by -inf, 0 elsewhere."""
    allowed = (~torch.isneginf(input.detach())).to(input.dtype)
    dim = -1 if dim is None else dim
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
    if not query.requires_grad and not key.requires_grad:  # a weighting that does not depend on the input stays
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **_)
    scores = query.new_zeros(*query.shape[:-1], key.shape[-2], requires_grad=False)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        banned = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask <= MASK
        scores = scores.masked_fill(banned, -torch.inf)
    if value.ndim > 3 and value.shape[-3] != query.shape[-3]:  # grouped queries share their keys and values
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    return uniform_weights(scores, -1) @ value


def average_pool(dimensions: int) -> StandIn:
    """Average pooling in the place of max pooling: same kernel, stride, padding, dilation and ceil mode.

    Padded cells count, as zeros: the divisor is the kernel's size. Cells that only ceil mode adds beyond the
    padding do not count, as in torch's own average pooling.
    """

    def pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if return_indices:
            return refuse()
        kernel, steps = _spread(kernel_size, dimensions), _spread(stride or kernel_size, dimensions)
        pads, holes = _spread(padding, dimensions), _spread(dilation, dimensions)
        if max(holes) == 1:
            function: StandIn = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dimensions - 1]
            return function(input, kernel, steps, pads, ceil_mode, True)  # type: ignore[no-any-return]
        return _dilated_average(input, kernel, steps, pads, holes, ceil_mode)

    return pool


def _spread(value: Any, dimensions: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * dimensions if len(values) == 1 else values


def _dilated_average(
    input: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> Tensor:
    """Average pooling with holes, which torch lacks: a depthwise convolution with a uniform kernel."""
    dimensions = len(kernel)
    batched = input if input.ndim == dimensions + 2 else input.unsqueeze(0)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    extra = [
        _ceil_padding(size, p, span, s) if ceil_mode else 0
        for size, p, span, s in zip(batched.shape[2:], padding, spans, stride, strict=True)
    ]
    around = [amount for p in reversed(padding) for amount in (p, p)]
    beyond = [amount for e in reversed(extra) for amount in (0, e)]
    channels = batched.shape[1]
    weight = batched.new_ones((channels, 1, *kernel), requires_grad=False)
    function: StandIn = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]

    def total(values: Tensor) -> Tensor:
        summed: Tensor = function(F.pad(values, beyond), weight, None, stride, 0, dilation, channels)
        return summed

    padded = F.pad(batched, around)
    pooled = total(padded) / total(torch.ones_like(padded, requires_grad=False))
    return pooled if input.ndim == dimensions + 2 else pooled.squeeze(0)


def _ceil_padding(size: int, padding: int, span: int, stride: int) -> int:
    """Cells beyond the padding that ceil mode adds; no window may start there (as in torch's pooling)."""
    outputs = math.ceil((size + 2 * padding - span) / stride) + 1
    if (outputs - 1) * stride >= size + padding:
        outputs -= 1
    return max(0, (outputs - 1) * stride + span - size - 2 * padding)


def adaptive_average(dimensions: int) -> StandIn:
    function: StandIn = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[dimensions - 1]

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        if return_indices:
            return refuse()
        return function(input, output_size)  # type: ignore[no-any-return]

    return pool


def mean_for_max(input: Tensor, dim: Any = (), keepdim: bool = False, **_: Any) -> Tensor:
    return input.mean(dim if dim != () else None, keepdim)


def zero_pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Padding, where the -inf that a max pooling would ignore becomes 0."""
    if mode == "constant" and value == -torch.inf:
        value = 0.0
    return F.pad(input, pad, mode, value)


def constant_pad(input: Tensor, pad: Any, value: float = 0.0) -> Tensor:
    return zero_pad(input, pad, "constant", value)


RULES: tuple[Rule, ...] = (
    Rule(
        "relu relu6 leaky_relu elu selu celu gelu silu mish prelu rrelu hardswish hardtanh tanh softplus softsign "
        "tanhshrink hardshrink softshrink threshold logsigmoid log_sigmoid",
        identity,
        "the paper: activations are dropped",
    ),
    Rule(
        "relu_ leaky_relu_ elu_ selu_ celu_ rrelu_ hardtanh_ tanh_ threshold_ clamp_ clip_ clamp_min_ clamp_max_ "
        "dropout_ alpha_dropout_ feature_dropout_ feature_alpha_dropout_",
        identity_in_place,
        "the same, in place",
    ),
    Rule("clamp clip clamp_min clamp_max", identity, "a clamp in a network is an activation"),
    Rule(
        "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout",
        identity,
        "eval mode",
    ),
    Rule(
        "layer_norm group_norm instance_norm rms_norm local_response_norm",
        identity,
        "normalization by the input's own statistics is not linear",
    ),
    Rule("sigmoid hardsigmoid expit", open_gate, "a multiplicative gate lets all pass"),
    Rule("sigmoid_ hardsigmoid_", open_gate_in_place, "the same, in place"),
    Rule("glu", first_half, "a multiplicative gate lets all pass"),
    Rule("softmax", uniform_weights, "a weighting becomes its constant mean"),
    Rule("masked_fill", masked_fill, "masks are often written as huge negative numbers"),
    Rule("log_softmax", identity, "it changes no ranking of the logits"),
    Rule("scaled_dot_product_attention", uniform_attention, "a weighting becomes its constant mean"),
    *(Rule(f"max_pool{d}d", average_pool(d), "the paper: max pooling becomes average pooling") for d in (1, 2, 3)),
    *(
        Rule(f"adaptive_max_pool{d}d", adaptive_average(d), "the paper: max pooling becomes average pooling")
        for d in (1, 2, 3)
    ),
    *(
        Rule(f"max_pool{d}d_with_indices adaptive_max_pool{d}d_with_indices", refuse, "indices are not linear")
        for d in (1, 2, 3)
    ),
    Rule("amax", mean_for_max, "max pooling over any dimension becomes average pooling"),
    Rule("pad", zero_pad, "max pooling ignores -inf, average pooling cannot"),
    Rule("constant_pad_nd", constant_pad, "the same"),
    Rule("detach", identity, "the map is read off by gradients: nothing may hide from them"),
)

REMOVE_BATCH_NORM = Rule("batch_norm", identity, "the paper: batch normalization is removed")


def table(batch_norm: str) -> dict[Any, StandIn]:
    """Torch's functions to their stand-ins; with ``fold`` an eval-mode batch norm, affine as it is, runs unchanged."""
    rules = (*RULES, REMOVE_BATCH_NORM) if batch_norm == "remove" else RULES
    return {function: rule.stand_in for rule in rules for function in _functions(rule)}


def _functions(rule: Rule) -> Iterator[Any]:
    places = (torch, torch.Tensor, F, torch._C._nn, torch.special)
    for name in rule.operations.split():
        found = [getattr(place, name) for place in places if hasattr(place, name)]
        if not found:
            raise LookupError(f"torch has no operation named {name}")
        yield from found
