"""Pooling stand-ins: max pooling, of windows or of whole dimensions, becomes average pooling."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.errors import LinearizationError
from auditor.linear.compositions import curve_of
from auditor.linear.history import is_dependent, note, past_of
from auditor.linear.pointwise import stretched

StandIn = Callable[..., Any]


def refuse(*_: Any, **__: Any) -> Tensor:
    raise TypeError("max pooling that returns indices has no linear stand-in")


class Largest(NamedTuple):
    """The result of ``max`` along a dimension. No rule covers the use of its indices, which depend on values."""

    values: Tensor
    indices: Tensor


def largest(input: Tensor, *arguments: Any, **named: Any) -> Any:
    """``max`` and ``min``: of all, along a dimension, or of two tensors; the larger of two is their mean.

    The larger of the input and a constant is an activation, and dropped.
    """
    other = named.get("other", arguments[0] if arguments else None)
    if isinstance(other, Tensor):
        return larger(input, other)
    if other is None and "dim" not in named:
        return input.mean()
    dim = named.get("dim", other)
    _refuse_one_function(input, dim)
    keepdim = named.get("keepdim", arguments[1] if len(arguments) > 1 else False)
    return Largest(input.mean(dim, keepdim), input.argmax(dim, keepdim))


def largest_few(input: Tensor, k: int, dim: int = -1, *arguments: Any, **named: Any) -> Any:
    """``topk``: each of the largest becomes the mean of all."""
    _refuse_one_function(input, dim)
    mean = input.mean(dim, keepdim=True).repeat_interleave(k, dim)
    return Largest(mean, input.topk(k, dim, *arguments, **named).indices)


def larger(input: Tensor, other: Tensor) -> Tensor:
    """``maximum`` and ``minimum`` of two tensors: the mean, also of more than two, in whatever order they are taken."""
    if is_dependent(input) and is_dependent(other):
        counts = [past_of(tensor).largest_of or 1 for tensor in (input, other)]
        return note((counts[0] * input + counts[1] * other) / sum(counts), largest_of=sum(counts))
    return stretched(input, other) if is_dependent(input) else stretched(other, input)


def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: None = None) -> Tensor:
    """``stack`` itself. The largest of several functions of one tensor is an activation: ``stack([x, 0.1 * x])``."""
    result = torch.stack(list(tensors), dim, out=out)
    curves = [curve_of(tensor) for tensor in tensors]
    bases = {id(curve.base) for curve in curves if curve is not None}
    return note(result, one_function=dim % result.ndim) if len(tensors) > 1 and len(bases) == 1 else result


def _refuse_one_function(input: Tensor, dim: Any) -> None:
    place = past_of(input).one_function
    if place is not None and (dim is None or place in [one % input.ndim for one in _as_list(dim)]):
        raise LinearizationError(
            "max, topk or logsumexp over a stack of functions of one tensor is an activation without a stand-in: write "
            "maximum, minimum or logaddexp"
        )


def _as_list(dims: Any) -> list[int]:
    return list(dims) if isinstance(dims, Sequence) else [dims]


def average_pool(dimensions: int) -> StandIn:
    """Average pooling in the place of max pooling: same kernel, stride, padding, dilation and ceil mode.

    Padded cells count, as zeros: the divisor is the kernel's size. Cells that only ceil mode adds beyond the
    padding do not count, as in torch's own average pooling.
    """

    average: StandIn = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dimensions - 1]

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
            pooled: Tensor = average(input, kernel, steps, pads, ceil_mode, True)
            return pooled
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
        pooled: Tensor = function(input, output_size)
        return pooled

    return pool


def mean_for_max(input: Tensor, dim: Any = (), keepdim: bool = False, **_: Any) -> Tensor:
    """``amax`` and its like."""
    _refuse_one_function(input, dim if dim != () else None)
    return input.mean(dim if dim != () else None, keepdim)
