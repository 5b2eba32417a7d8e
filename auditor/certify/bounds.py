"""Bounds of a network's logits over a ball: intervals (Gowal et al., 2018) and lines (CROWN, Zhang et al., 2018).

Intervals run forward, one operation after the other. Lines run backward: the difference of two logits is written as a
linear function of ever earlier values, where each activation is replaced by a line below or above it, until it is a
linear function of the image, whose lowest value in the ball is known.

All of it is float64, and about the network as it is computed: each result may be off by its rounding error, see
:mod:`auditor.certify.operations`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.certify.balls import Ball
from auditor.certify.operations import Affine, Elementwise, MaxPool
from auditor.certify.program import Program, Step
from auditor.certify.rounding import affine_error, size_error
from auditor.errors import BoundsError, first_line

CHUNK = 512
"""Linear functions that go back through the network at once."""
SLACK = 1e-9
"""The share of all magnitudes in a linear bound that covers the rounding of the bound itself in float64."""
LARGEST = 1e37
"""Values above may overflow float32; then there is no bound."""


@dataclass
class Bounds:
    """Intervals of every step's result for one image, and the rounding errors that they include.

    Attributes:
        low, high: by the number of the step; 0 is the image.
        error: how far the computed result may be from the exact one for the same inputs.
        tight: the steps whose intervals come from lines, too.
    """

    program: Program
    ball: Ball
    low: dict[int, Tensor]
    high: dict[int, Tensor]
    error: dict[int, Tensor]
    tight: set[int] = field(default_factory=set)

    @property
    def output(self) -> tuple[Tensor, Tensor]:
        """The interval of the logits, ``(1, K)`` each."""
        return self.low[self.program.output], self.high[self.program.output]


def interval_bounds(program: Program, ball: Ball, neurons: int = 0) -> Bounds:
    """Intervals of all steps.

    Args:
        neurons: tighten the inputs of activations by lines, if they have at most this many values. This includes all
            values that the intervals leave open; 0 for intervals alone.

    Raises:
        BoundsError: the arguments of an operation have no bounds.
    """
    bounds = Bounds(program, ball, {0: ball.low}, {0: ball.high}, {})
    for number, step in program.steps.items():
        if isinstance(step.row, Elementwise) and neurons:
            _tighten(bounds, step.inputs[0], step.row.kinked, neurons)
        try:
            low, high, error = _interval(step, bounds)
        except (NotImplementedError, TypeError, RuntimeError, ValueError) as failure:
            raise BoundsError(f"no bounds for {step.name} with these arguments: {first_line(failure)}") from failure
        bounds.low[number], bounds.high[number], bounds.error[number] = low - error, high + error, error
    return bounds


def _interval(step: Step, bounds: Bounds) -> tuple[Tensor, Tensor, Tensor]:
    """The exact interval of a step for the intervals of its inputs, and its rounding error."""
    lows = {number: bounds.low[number] for number in step.inputs}
    highs = {number: bounds.high[number] for number in step.inputs}
    row = step.row
    if isinstance(row, Affine):
        sizes = {number: torch.maximum(-lows[number], highs[number]) for number in step.inputs}
        error = affine_error(step, row, sizes)
        if not step.run(row.terms, sizes):  # type: ignore[arg-type]
            ends = step.run(row.apply, lows), step.run(row.apply, highs)
            return torch.minimum(*ends), torch.maximum(*ends), error
        half = {number: (highs[number] - lows[number]) / 2 for number in step.inputs}
        none = {number: torch.zeros_like(lows[number]) for number in step.inputs}
        middle = step.run(row.apply, {number: (lows[number] + highs[number]) / 2 for number in step.inputs})
        radius = (step.run(row.magnitude, half) - step.run(row.magnitude, none)).clamp_min(0)
        return middle - radius, middle + radius, error
    low, high = (step.run(row.apply, ends) for ends in (lows, highs))
    if isinstance(row, MaxPool) or row.ulps == 0:
        return low, high, torch.zeros_like(low)
    size = torch.maximum(low.abs(), high.abs())
    return low, high, size_error(step, row.ulps, size)


def _tighten(bounds: Bounds, number: int, kinked: bool, neurons: int) -> None:
    """Intersect the interval of a step with what lines say of it."""
    low, high = bounds.low[number], bounds.high[number]
    if number == 0 or number in bounds.tight or low.numel() > neurons:
        return
    bounds.tight.add(number)
    open_ones = ((low < 0) & (high > 0)) if kinked else torch.ones_like(low, dtype=torch.bool)
    places = open_ones.flatten().nonzero().flatten()
    for some in torch.split(places, CHUNK):
        one = torch.zeros(len(some), low.numel(), dtype=low.dtype, device=low.device)
        one[torch.arange(len(some), device=low.device), some] = 1.0
        slopes = one.view(-1, *low.shape)
        least, most = linear_bound(bounds, number, slopes), -linear_bound(bounds, number, -slopes)
        flat_low, flat_high = bounds.low[number].flatten().clone(), bounds.high[number].flatten().clone()
        flat_low[some] = torch.fmax(flat_low[some], least)
        flat_high[some] = torch.fmin(flat_high[some], most)
        bounds.low[number], bounds.high[number] = flat_low.view_as(low), flat_high.view_as(high)


def linear_bound(bounds: Bounds, start: int, slopes: Tensor, *, stop_at_activations: bool = False) -> Tensor:
    """Lower bounds ``(S,)`` of linear functions of a step's result over the ball.

    Args:
        start: the number of the step.
        slopes: ``(S, *shape of the step)``.
        stop_at_activations: go back only to the last activations, and take the intervals there. This is what intervals
            say of the functions, with the affine steps after the last activations folded into them.
    """
    program = bounds.program
    pending = {start: slopes}
    total = slopes.new_zeros(len(slopes))
    magnitude = slopes.new_zeros(len(slopes))
    for number in sorted(program.steps, reverse=True):
        slope = pending.pop(number, None)
        if slope is None:
            continue
        step = program.steps[number]
        if isinstance(step.row, Affine):
            parts, constant = _through_affine(step, step.row, slope, bounds)
        elif stop_at_activations:
            total = total + _lowest(slope, bounds.low[number], bounds.high[number])
            magnitude = magnitude + _size(slope, bounds.low[number], bounds.high[number])
            continue
        elif isinstance(step.row, Elementwise):
            parts, constant = _through_lines(step, step.row, slope, bounds)
        else:
            parts, constant = _through_maximum(step, step.row, slope, bounds)
        total = total + constant - _flat(slope.abs()) @ bounds.error[number].flatten()
        magnitude = magnitude + constant.abs() + _size(slope, bounds.low[number], bounds.high[number])
        for source, part in parts.items():
            pending[source] = pending[source] + part if source in pending else part
    image = pending.pop(0, None)
    if image is not None:
        total = total + bounds.ball.lowest(image)
        magnitude = magnitude + _size(image, bounds.low[0], bounds.high[0])
    found = total - SLACK * magnitude
    return torch.where(torch.isfinite(found) & (magnitude < LARGEST), found, -torch.inf)


def _flat(slopes: Tensor) -> Tensor:
    """``(S, …)`` as ``(S, D)``, also for single numbers."""
    return slopes.flatten(1) if slopes.ndim > 1 else slopes.unsqueeze(1)


def _lowest(slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
    flat = _flat(slope)
    return flat.clamp_min(0) @ low.flatten() + flat.clamp_max(0) @ high.flatten()


def _size(slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return _flat(slope.abs()) @ torch.maximum(low.abs(), high.abs()).flatten()


def _through_affine(step: Step, row: Affine, slope: Tensor, bounds: Bounds) -> tuple[dict[int, Tensor], Tensor]:
    """``slope · (L v + b)`` as ``(slope L) · v`` and the constant ``slope · b``."""
    numbers = step.inputs
    zeros = tuple(torch.zeros_like(bounds.low[number]) for number in numbers)

    def function(*values: Tensor) -> Tensor:
        return step.run(row.apply, dict(zip(numbers, values, strict=True)))

    constant, pull_back, *_ = torch.func.vjp(function, *zeros)
    parts = torch.func.vmap(pull_back)(slope)
    return dict(zip(numbers, parts, strict=True)), _flat(slope) @ constant.flatten()


def _through_lines(step: Step, row: Elementwise, slope: Tensor, bounds: Bounds) -> tuple[dict[int, Tensor], Tensor]:
    """Each activation as the line below it where its slope is positive, as the line above it where it is negative."""
    (number,) = step.inputs
    low, high = bounds.low[number], bounds.high[number]
    below, offset_below, above, offset_above = row.lines(low, high, *step.others, **step.kwargs)
    rounding = 1e-12 * (torch.maximum(low.abs(), high.abs()) + 1e-30)
    if row.ulps:
        rounding = rounding + 1e-12
    up, down = slope.clamp_min(0), slope.clamp_max(0)
    constant = _flat(up) @ (offset_below - rounding).flatten() + _flat(down) @ (offset_above + rounding).flatten()
    return {number: up * below + down * above}, constant


def _through_maximum(step: Step, row: MaxPool, slope: Tensor, bounds: Bounds) -> tuple[dict[int, Tensor], Tensor]:
    """Below a maximum: the value with the highest lower bound. Above: it, if no other can exceed it, or a constant."""
    (number,) = step.inputs
    low, high = bounds.low[number], bounds.high[number]
    top, pull_back, *_ = torch.func.vjp(lambda values: step.run(row.apply, {number: values}), low)
    greatest = step.run(row.apply, {number: high})
    alone = _rivals(step, low, high, top)
    up, down = slope.clamp_min(0), slope.clamp_max(0)
    (part,) = torch.func.vmap(pull_back)(up + torch.where(alone, down, 0.0))
    return {number: part}, _flat(torch.where(alone, 0.0, down)) @ greatest.flatten()


def _pooling(kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False) -> tuple[Any, ...]:
    return kernel, stride, padding, dilation, ceil


def _rivals(step: Step, low: Tensor, high: Tensor, top: Tensor) -> Tensor:
    """Where in the result only one value of the window can be the maximum: no second one reaches its lower bound."""
    kernel, stride, padding, dilation, ceil = _pooling(*step.others)
    if ceil or low.ndim != 4:
        return torch.zeros_like(top, dtype=torch.bool)
    pads: list[int] = [padding, padding] if isinstance(padding, int) else list(padding) * (2 // len(padding))
    wide = F.pad(high, (pads[1], pads[1], pads[0], pads[0]), value=-torch.inf)
    windows = F.unfold(wide.transpose(0, 1), kernel, dilation, 0, stride or kernel)  # (C, k, L)
    reaching = (windows >= top.flatten(2)[0].unsqueeze(1)).sum(1)
    return (reaching == 1).view_as(top)


def margin_bounds(bounds: Bounds, label: int, *, intervals: bool) -> Tensor:
    """Lower bounds ``(K - 1,)`` of ``logit_label - logit_j`` for the other classes j."""
    output = bounds.program.output
    classes = bounds.low[output].shape[-1]
    others = torch.tensor([j for j in range(classes) if j != label], device=bounds.low[output].device)
    slopes = torch.zeros(classes - 1, *bounds.low[output].shape, dtype=torch.float64, device=others.device)
    slopes[:, ..., label] = 1.0
    slopes[torch.arange(classes - 1, device=others.device), 0, others] = -1.0
    return torch.cat(
        [linear_bound(bounds, output, s, stop_at_activations=intervals) for s in torch.split(slopes, CHUNK)]
    )


def contains(bounds: Bounds, logits: Iterable[Tensor]) -> bool:
    """Whether computed logits ``(1, K)`` are within the interval of the output."""
    low, high = bounds.output
    return all(bool(((low <= one.double()) & (one.double() <= high)).all()) for one in logits)
