"""What each non-linear operation becomes: one row an operation (Bai et al., 2021, section 3, and docs/method.md).

A rule is applied where an operation's input depends on the network's input, and only there: batch norm called on
*weights*, as weight standardization does, stays what it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

StandIn = Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """The operations of these names, wherever torch keeps them, become ``stand_in``, for this reason."""

    operations: str
    stand_in: StandIn
    reason: str


def identity(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def open_gate(input: Tensor, *_: Any, **__: Any) -> Tensor:
    """A gate that lets everything pass: constant 1."""
    return torch.ones_like(input, requires_grad=False)


def first_half(input: Tensor, dim: int = -1) -> Tensor:
    """A gated linear unit ``a * sigmoid(b)`` with its gate at 1."""
    return input.chunk(2, dim)[0]


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
    dropout_p: float = 0.0,  # noqa: ARG001 - torch passes it by position
    is_causal: bool = False,
    **_: Any,
) -> Tensor:
    """Attention ``(…, L, E)`` that weighs each key the mask allows alike, so that the value path stays linear."""
    scores = query.new_zeros(*query.shape[:-1], key.shape[-2], requires_grad=False)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        banned = ~attn_mask if attn_mask.dtype == torch.bool else torch.isneginf(attn_mask)
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
            raise TypeError("max pooling that returns indices has no linear stand-in")
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
        -(size + 2 * p - span) % s if ceil_mode else 0
        for size, p, span, s in zip(batched.shape[2:], padding, spans, stride, strict=True)
    ]
    around = [amount for p, e in zip(reversed(padding), reversed(extra), strict=True) for amount in (p, p + e)]
    channels = batched.shape[1]
    weight = batched.new_full((channels, 1, *kernel), 1 / torch.Size(kernel).numel(), requires_grad=False)
    function: StandIn = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    pooled: Tensor = function(F.pad(batched, around), weight, None, stride, 0, dilation, channels)
    return pooled if input.ndim == dimensions + 2 else pooled.squeeze(0)


def adaptive_average(dimensions: int) -> StandIn:
    function: StandIn = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[dimensions - 1]

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        if return_indices:
            raise TypeError("max pooling that returns indices has no linear stand-in")
        return function(input, output_size)  # type: ignore[no-any-return]

    return pool


def mean_for_max(input: Tensor, dim: Any = (), keepdim: bool = False, **_: Any) -> Tensor:
    return input.mean(dim if dim != () else None, keepdim)


def zero_pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Padding, where the -inf that a max pooling would ignore becomes 0."""
    if mode == "constant" and value == -torch.inf:
        value = 0.0
    return F.pad(input, pad, mode, value)


RULES: tuple[Rule, ...] = (
    Rule(
        "relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ gelu silu mish prelu rrelu rrelu_ "
        "hardswish hardtanh hardtanh_ tanh tanh_ softplus softsign tanhshrink hardshrink softshrink "
        "threshold threshold_ logsigmoid log_sigmoid",
        identity,
        "the paper: activations are dropped",
    ),
    Rule(
        "clamp clamp_ clip clip_ clamp_min clamp_min_ clamp_max clamp_max_",
        identity,
        "a clamp in a network is an activation",
    ),
    Rule(
        "dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout alpha_dropout_ feature_dropout "
        "feature_dropout_ feature_alpha_dropout feature_alpha_dropout_",
        identity,
        "eval mode",
    ),
    Rule(
        "layer_norm group_norm instance_norm rms_norm local_response_norm native_layer_norm",
        identity,
        "normalization by the input's own statistics is not linear",
    ),
    Rule("sigmoid sigmoid_ hardsigmoid hardsigmoid_ expit", open_gate, "a multiplicative gate lets all pass"),
    Rule("glu", first_half, "a multiplicative gate lets all pass"),
    Rule("softmax", uniform_weights, "a weighting becomes its constant mean"),
    Rule("log_softmax", identity, "it changes no ranking of the logits"),
    Rule("scaled_dot_product_attention", uniform_attention, "a weighting becomes its constant mean"),
    *(
        Rule(
            f"max_pool{d}d max_pool{d}d_with_indices",
            average_pool(d),
            "the paper: max pooling becomes average pooling",
        )
        for d in (1, 2, 3)
    ),
    *(
        Rule(
            f"adaptive_max_pool{d}d adaptive_max_pool{d}d_with_indices",
            adaptive_average(d),
            "the paper: max pooling becomes average pooling",
        )
        for d in (1, 2, 3)
    ),
    Rule("amax", mean_for_max, "max pooling over any dimension becomes average pooling"),
    Rule("pad constant_pad_nd", zero_pad, "max pooling ignores -inf, average pooling cannot"),
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
