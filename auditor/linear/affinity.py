"""Proof that a linearized network is affine, and the names of the operations at fault if it is not."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from auditor.linear.linearize import Linearized
from auditor.linear.mode import LinearMode, name_of, tensors_of

A, B = 0.7, -1.3
REACH = 30.0
"""Standard deviation of the probe points: far beyond any bias, or all of them could lie on one piece of a kink."""


def probe_points(input_size: tuple[int, ...], like: Tensor, *, reach: float = REACH, seed: int = 0) -> Tensor:
    """The five points of the check, ``(5, C, H, W)``: 0, u, v, a·u + b·v and -v, with random u and v."""
    generator = torch.Generator().manual_seed(seed)
    u, v = reach * torch.randn(2, *input_size, generator=generator, dtype=torch.float64)
    return torch.stack([torch.zeros_like(u), u, v, A * u + B * v, -v]).to(like)


def offset_ratio(outputs: Tensor) -> float:
    """``|f(0)| / |f - f(0)|``, from f at the probe points: rounding costs the change as many digits as this has."""
    zero, *others = outputs.double().flatten(1)
    changes = torch.stack([other - zero for other in others]).abs().max()
    return float(zero.abs().max() / changes.clamp_min(1e-300))


def affinity_error(outputs: Tensor) -> float:
    """The larger of ``|g(a·u + b·v) - a·g(u) - b·g(v)|`` and ``|g(v) + g(-v)|``, for the worst output.

    Relative to the output's size; ``g = f - f(0)``, from f at the probe points ``(5, K)``. NaN where a value is not
    finite; 0 where g vanishes.
    """
    zero, *others = outputs.double().flatten(1)
    u, v, both, opposite = changes = torch.stack([other - zero for other in others])
    return relative_error(torch.stack([both - A * u - B * v, v + opposite]), changes)


def relative_error(differences: Tensor, values: Tensor) -> float:
    """The largest of ``differences (m, K)`` relative to the root mean square of its column of ``values (n, K)``.

    Column by column, so that a large class does not hide a small one; a class that is tiny compared
    with the others counts as their rounding noise. NaN where a value is not finite.
    """
    largest = differences.abs().amax(0)
    most = values.abs().amax(0).clamp_min(1e-300)  # squares of values near 1e200 would overflow
    sizes = most * (values / most).pow(2).mean(0).sqrt()
    if not (torch.isfinite(largest).all() and torch.isfinite(sizes).all()):
        return math.nan
    sizes = sizes.clamp_min(1e-6 * sizes.max()).clamp_min(1e-300)
    return float((largest / sizes).max())


def larger_error(first: float, second: float) -> float:
    """The larger of two errors; NaN if one is NaN."""
    return math.nan if math.isnan(first) or math.isnan(second) else max(first, second)


@dataclass
class _Step:
    """One operation of a traced run: its name, the steps that made its inputs, a projection of its output."""

    name: str
    sources: list[int]
    sketch: Tensor = field(default_factory=lambda: torch.zeros(0))


class _Tracer(LinearMode):
    """Records every operation of one forward pass with a random projection of what it returned."""

    def __init__(self, linear: Linearized) -> None:
        super().__init__(linear.batch_norm)
        self.steps: list[_Step] = []
        self.made_by: dict[int, int] = {}
        self.alive: list[Tensor] = []  # keeps the tensors alive, so that no other tensor gets their ids
        self.where: list[str] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        inputs = list(tensors_of((args, kwargs)))
        sources = [self.made_by[id(tensor)] for tensor in inputs if id(tensor) in self.made_by]
        result = super().__torch_function__(func, types, args, kwargs)
        place = f" in {self.where[-1]}" if self.where and self.where[-1] else ""
        for output in tensors_of(result):
            known = self.made_by.get(id(output))
            if known is not None and not any(output is tensor for tensor in inputs):
                continue  # an inner operation has recorded it already
            self.steps.append(_Step(name_of(func) + place, sources, _sketch(output)))
            self.made_by[id(output)] = len(self.steps) - 1
            self.alive.append(output)
        return result


def _sketch(tensor: Tensor) -> Tensor:
    """A random projection of each sample's values, the same for tensors of the same shape."""
    flat = tensor.detach().double().reshape(tensor.shape[0] if tensor.ndim else 1, -1)
    generator = torch.Generator().manual_seed(flat.shape[1])
    direction = torch.randn(flat.shape[1], generator=generator, dtype=torch.float64)
    return flat @ direction.to(flat.device)


def find_nonaffine(linear: Linearized, points: Tensor) -> list[str]:
    """The operations that make ``linear`` non-affine: those that are not affine although their inputs are.

    Each of the probe points ``(5, C, H, W)`` is traced alone, and the runs are compared operation by operation.
    Non-affine operations that do not reach the logits are left out.
    """
    runs = [_traced(linear, point.unsqueeze(0)) for point in points]
    lengths = {len(steps) for steps, _ in runs}
    if len(lengths) > 1:
        return ["control flow that depends on the input's values"]
    origins: list[set[str]] = []
    for index, step in enumerate(runs[0][0]):
        sketches = [steps[index].sketch for steps, _ in runs]
        if len({sketch.shape for sketch in sketches}) > 1:
            return [step.name]
        inherited = set().union(*(origins[source] for source in step.sources)) if step.sources else set()
        affine = affinity_error(torch.stack(sketches)) < 1e-6
        origins.append(set() if affine else inherited or {step.name})
    last = runs[0][1]
    return sorted(origins[last]) if last is not None else []


def _traced(linear: Linearized, image: Tensor) -> tuple[list[_Step], int | None]:
    tracer = _Tracer(linear)

    def leave(*_: Any) -> None:
        tracer.where.pop()

    hooks: list[RemovableHandle] = []
    for name, module in linear.network.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: tracer.where.append(name)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        logits = linear.run(image.clone().requires_grad_(), tracer)
    finally:
        for hook in hooks:
            hook.remove()
    return tracer.steps, tracer.made_by.get(id(logits))
