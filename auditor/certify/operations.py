"""The operations that have bounds: one row each. What is not in the table is refused by name.

A network is bounded as it is computed, not as it is written: each row also says how far the computed result may be from
the exact one. Intervals are widened by that much, and linear bounds are lowered by it.

The operations are those of torch's functional ATen graph, in which nothing happens in place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ATEN = torch.ops.aten

Lines = tuple[Tensor, Tensor, Tensor, Tensor]
"""Slope and offset of a line below a function, and of a line above it, elementwise."""


@dataclass(frozen=True)
class Affine:
    """An operation that is affine in its inputs.

    Attributes:
        apply: the operation.
        magnitude: the same with absolute values in place of weights and differences: of the inputs' magnitudes it gives
            the sum of the magnitudes that are added up.
        terms: of the arguments, how many numbers are added up for an output; 0 if nothing is rounded.
    """

    apply: Callable[..., Tensor]
    magnitude: Callable[..., Tensor]
    terms: Callable[..., int]


@dataclass(frozen=True)
class Elementwise:
    """A non-decreasing function of each element.

    Attributes:
        apply: the function.
        lines: the lines between which the function stays, from lower and upper bounds and the other arguments.
        ulps: the largest error of the computed function, in units in the last place; 0 if it is exact.
        kinked: whether the function is affine where its input keeps its sign; only other inputs need tight bounds.
    """

    apply: Callable[..., Tensor]
    lines: Callable[..., Lines]
    ulps: int = 0
    kinked: bool = False


@dataclass(frozen=True)
class MaxPool:
    """The maximum over windows; ``apply`` takes the operation's arguments."""

    apply: Callable[..., Tensor]


Row = Affine | Elementwise | MaxPool


def _absolute(apply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation with all tensors of its arguments replaced by their absolute values."""

    def magnitude(*args: Any, **kwargs: Any) -> Tensor:
        made = [arg.abs() if isinstance(arg, Tensor) else arg for arg in args]
        return apply(*made, **{key: arg.abs() if isinstance(arg, Tensor) else arg for key, arg in kwargs.items()})

    return magnitude


def _weighted(apply: Callable[..., Tensor], terms: Callable[..., int]) -> Affine:
    return Affine(apply, _absolute(apply), terms)


def _copied(apply: Callable[..., Tensor]) -> Affine:
    """An operation that only moves numbers."""
    return Affine(apply, _absolute(apply), lambda *_, **__: 0)


def _scaled(sign: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """``add`` or ``sub``, and the sum of the magnitudes."""

    def apply(a: Any, b: Any, alpha: float = 1) -> Tensor:
        return torch.as_tensor(a) + sign * alpha * torch.as_tensor(b)

    def magnitude(a: Any, b: Any, alpha: float = 1) -> Tensor:
        return torch.as_tensor(a).abs() + abs(alpha) * torch.as_tensor(b).abs()

    return apply, magnitude


def _subtract_from(a: Any, b: Any, alpha: float = 1) -> Tensor:
    return torch.as_tensor(b) - alpha * torch.as_tensor(a)


def _subtract_from_magnitude(a: Any, b: Any, alpha: float = 1) -> Tensor:
    return torch.as_tensor(b).abs() + abs(alpha) * torch.as_tensor(a).abs()


def _product_magnitude(a: Any, b: Any) -> Tensor:
    return torch.as_tensor(a).abs() * torch.as_tensor(b).abs()


def _quotient_magnitude(a: Any, b: Any) -> Tensor:
    return torch.as_tensor(a).abs() / torch.as_tensor(b).abs()


def _batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, _: float, eps: float
) -> Tensor:
    """Batch norm with stored statistics."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    scale = (variance + eps).rsqrt() if weight is None else weight * (variance + eps).rsqrt()
    shift = -mean * scale if bias is None else bias - mean * scale
    return x * scale.view(shape) + shift.view(shape)


def _batch_norm_magnitude(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, _: float, eps: float
) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    scale = (variance + eps).rsqrt() if weight is None else weight.abs() * (variance + eps).rsqrt()
    shift = mean.abs() * scale if bias is None else bias.abs() + mean.abs() * scale
    return x * scale.view(shape) + shift.view(shape)


def _mean(x: Tensor, dims: Any = None, keepdim: bool = False) -> Tensor:
    return x.mean(dims, keepdim) if dims else x.mean()


def _sum(x: Tensor, dims: Any = None, keepdim: bool = False) -> Tensor:
    return x.sum(dims, keepdim) if dims else x.sum()


def _reduced(x: Tensor, dims: Any = None, *_: Any) -> int:
    return math.prod(x.shape[dim] for dim in dims) if dims else x.numel()


def _window(_: Tensor, kernel: Any, *__: Any) -> int:
    return math.prod(kernel) if isinstance(kernel, list | tuple) else int(kernel) ** 2


def _pad(x: Tensor, pad: Any, value: float = 0.0) -> Tensor:
    return F.pad(x, pad, value=value)


def _pad_constant(x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    if mode != "constant":
        raise NotImplementedError(f"padding of the mode {mode}")
    return F.pad(x, pad, value=value or 0.0)


def _kernel(_: Tensor, weight: Tensor, *__: Any) -> int:
    return math.prod(weight.shape[1:])


def _rows(x: Tensor, *_: Any) -> int:
    return x.shape[-1]


def _addmm(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight)


def _relu(low: Tensor, high: Tensor, slope: float = 0.0) -> Lines:
    """The chord above; below, the line of slope 1 or ``slope`` that leaves the smaller area (Zhang et al., 2018)."""
    negative, positive = high <= 0, low >= 0
    width = (high - low).clamp_min(1e-300)
    chord = torch.where(negative, slope, torch.where(positive, 1.0, (high - slope * low) / width))
    offset = torch.where(negative | positive, 0.0, high - chord * high)
    below = torch.where(negative, slope, torch.where(positive | (high > -low), 1.0, slope))
    return below, torch.zeros_like(low), chord, offset


def _s_shaped(apply: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Callable[..., Lines]:
    """Parallel lines through both ends, with the smaller of the slopes there (Singh et al., 2018)."""

    def lines(low: Tensor, high: Tensor) -> Lines:
        slope = torch.minimum(derivative(low), derivative(high))
        return slope, apply(low) - slope * low, slope, apply(high) - slope * high

    return lines


def _flat(apply: Callable[..., Tensor]) -> Callable[..., Lines]:
    """Horizontal lines, which are bounds for every non-decreasing function."""

    def lines(low: Tensor, high: Tensor, *args: Any) -> Lines:
        zero = torch.zeros_like(low)
        return zero, apply(low, *args), zero, apply(high, *args)

    return lines


def _clamp(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def _hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return x.clamp(low, high)


def _clipped(limits: Callable[..., tuple[float, float]]) -> Callable[..., Lines]:
    """Of a clamp: the ReLU's lines about the one end that the interval contains; horizontal lines for both ends."""

    def lines(low: Tensor, high: Tensor, *args: Any) -> Lines:
        least, most = limits(*args)
        zero, one = torch.zeros_like(low), torch.ones_like(low)
        flat = (zero, low.clamp(least, most), zero, high.clamp(least, most))
        inside = (one, zero, one, zero)
        chosen = [torch.where((low >= least) & (high <= most), a, b) for a, b in zip(inside, flat, strict=True)]
        if math.isfinite(least):
            below, offset_below, above, offset_above = _relu(low - least, high - least)
            lower = (below, offset_below + least - below * least, above, offset_above + least - above * least)
            only = (low < least) & (high <= most) & (high > least)
            chosen = [torch.where(only, a, b) for a, b in zip(lower, chosen, strict=True)]
        return chosen[0], chosen[1], chosen[2], chosen[3]

    return lines


def _clamp_limits(least: float | None = None, most: float | None = None) -> tuple[float, float]:
    return -math.inf if least is None else least, math.inf if most is None else most


def _hardtanh_limits(least: float = -1.0, most: float = 1.0) -> tuple[float, float]:
    return least, most


def _leaky(x: Tensor, slope: float = 0.01) -> Tensor:
    if not 0 <= slope <= 1:
        raise NotImplementedError("leaky_relu with a slope outside of 0 to 1")
    return F.leaky_relu(x, slope)


def _elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    if min(alpha, scale, input_scale) < 0:
        raise NotImplementedError("elu with a negative factor")
    return scale * torch.where(x > 0, x, alpha * (torch.exp(input_scale * x.clamp_max(0)) - 1))


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    return F.softplus(x, beta, 1e9 if threshold >= 20 else _refuse("softplus with a threshold below 20"))


def _refuse(what: str) -> float:
    raise NotImplementedError(what)


def max_pool(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Tensor:
    """``F.max_pool2d`` with the arguments of ATen."""
    return F.max_pool2d(x, kernel, stride or kernel, padding, dilation, ceil)


_SUM, _DIFFERENCE = _scaled(1), _scaled(-1)
_SIGMOID = _s_shaped(torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x))
_TANH = _s_shaped(torch.tanh, lambda x: 1 / torch.cosh(x).square())

TABLE: dict[Any, Row] = {
    ATEN.conv1d.default: _weighted(ATEN.conv1d.default, _kernel),
    ATEN.conv2d.default: _weighted(ATEN.conv2d.default, _kernel),
    ATEN.conv3d.default: _weighted(ATEN.conv3d.default, _kernel),
    ATEN.conv2d.padding: _weighted(ATEN.conv2d.padding, _kernel),
    ATEN.linear.default: _weighted(F.linear, _rows),
    ATEN.addmm.default: _weighted(_addmm, lambda _, x, __: x.shape[-1]),
    ATEN.mm.default: _weighted(torch.mm, _rows),
    ATEN.matmul.default: _weighted(torch.matmul, _rows),
    ATEN._native_batch_norm_legit_no_training.default: Affine(_batch_norm, _batch_norm_magnitude, lambda *_: 8),
    ATEN.avg_pool1d.default: _weighted(F.avg_pool1d, _window),
    ATEN.avg_pool2d.default: _weighted(ATEN.avg_pool2d.default, _window),
    ATEN.adaptive_avg_pool1d.default: _weighted(F.adaptive_avg_pool1d, lambda x, _: x.shape[-1]),
    ATEN.adaptive_avg_pool2d.default: _weighted(F.adaptive_avg_pool2d, lambda x, _: math.prod(x.shape[-2:])),
    ATEN._adaptive_avg_pool2d.default: _weighted(F.adaptive_avg_pool2d, lambda x, _: math.prod(x.shape[-2:])),
    ATEN.mean.default: _weighted(_mean, _reduced),
    ATEN.mean.dim: _weighted(_mean, _reduced),
    ATEN.sum.default: _weighted(_sum, _reduced),
    ATEN.sum.dim_IntList: _weighted(_sum, _reduced),
    ATEN.add.Tensor: Affine(*_SUM, terms=lambda *_, **__: 2),
    ATEN.add.Scalar: Affine(*_SUM, terms=lambda *_, **__: 2),
    ATEN.sub.Tensor: Affine(*_DIFFERENCE, terms=lambda *_, **__: 2),
    ATEN.sub.Scalar: Affine(*_DIFFERENCE, terms=lambda *_, **__: 2),
    ATEN.rsub.Tensor: Affine(_subtract_from, _subtract_from_magnitude, lambda *_, **__: 2),
    ATEN.rsub.Scalar: Affine(_subtract_from, _subtract_from_magnitude, lambda *_, **__: 2),
    ATEN.mul.Tensor: Affine(torch.mul, _product_magnitude, lambda *_: 2),
    ATEN.mul.Scalar: Affine(torch.mul, _product_magnitude, lambda *_: 2),
    ATEN.div.Tensor: Affine(torch.div, _quotient_magnitude, lambda *_: 2),
    ATEN.div.Scalar: Affine(torch.div, _quotient_magnitude, lambda *_: 2),
    ATEN.neg.default: Affine(torch.neg, torch.abs, lambda *_: 0),
    **{
        operation: _copied(operation)
        for operation in (
            ATEN.flatten.using_ints,
            ATEN.permute.default, ATEN.transpose.int, ATEN.t.default, ATEN.squeeze.default, ATEN.squeeze.dim,
            ATEN.squeeze.dims, ATEN.unsqueeze.default, ATEN.expand.default, ATEN.select.int, ATEN.slice.Tensor,
            ATEN.flip.default,
        )
    },
    **{
        operation: _copied(lambda x, shape: x.reshape(shape))  # the values may have other strides than the model's
        for operation in (ATEN.view.default, ATEN.reshape.default, ATEN._unsafe_view.default)
    },
    **{
        operation: _copied(lambda x, **_: x)
        for operation in (ATEN.clone.default, ATEN.alias.default, ATEN.detach.default, ATEN.contiguous.default)
    },
    ATEN.cat.default: Affine(
        lambda parts, dim=0: torch.cat(list(parts), dim),
        lambda parts, dim=0: torch.cat([part.abs() for part in parts], dim),
        lambda *_: 0,
    ),
    ATEN.constant_pad_nd.default: Affine(_pad, lambda x, pad, value=0.0: _pad(x.abs(), pad, abs(value)), lambda *_: 0),
    ATEN.pad.default: Affine(_pad_constant, lambda *args: _pad_constant(*args).abs(), lambda *_: 0),
    ATEN.relu.default: Elementwise(torch.relu, _relu, kinked=True),
    ATEN.leaky_relu.default: Elementwise(_leaky, lambda low, high, slope=0.01: _relu(low, high, slope), 2, kinked=True),
    ATEN.hardtanh.default: Elementwise(_hardtanh, _clipped(_hardtanh_limits)),
    ATEN.relu6.default: Elementwise(F.relu6, _clipped(lambda: (0.0, 6.0))),
    ATEN.clamp.default: Elementwise(_clamp, _clipped(_clamp_limits)),
    ATEN.clamp_min.default: Elementwise(_clamp, _clipped(_clamp_limits)),
    ATEN.sigmoid.default: Elementwise(torch.sigmoid, _SIGMOID, 16),
    ATEN.tanh.default: Elementwise(torch.tanh, _TANH, 16),
    ATEN.elu.default: Elementwise(_elu, _flat(_elu), 64),
    ATEN.softplus.default: Elementwise(_softplus, _flat(_softplus), 64),
    ATEN.max_pool2d.default: MaxPool(max_pool),
    ATEN.max_pool2d_with_indices.default: MaxPool(max_pool),
}  # fmt: skip
"""By the operation of the graph. For an operation with several results the row is about the first."""
