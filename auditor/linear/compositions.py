"""Elementwise functions of one tensor that are composed of several operations: their slope or limit far from 0.

``0.5 * x * (1 + tanh(...))``, ``max(x, 0.1 * x)`` and ``log(1 + exp(x))`` are compositions of operations that have
their own rules, and these rules need not compose: 1 + tanh opens to 2. Therefore every tensor that is such a function
of another tensor, its *base*, stores the real function's values at the bases 50, 100, 200, -50, -100, -200 and 0, and
far out at ±1e6 and ±2e6, where functions such as ``x + sqrt(x**2 + 4)`` have reached their slope. When an operation
joins two parts of one function, the result becomes the base times the function's slope far out, on the steeper side.
When a bounded function, such as a gate, multiplies another tensor, it becomes its limit on the right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from auditor.linear.history import Past, is_dependent, past_of, sees_input

PROBES = (50.0, 100.0, 200.0, -50.0, -100.0, -200.0, 0.0, 1e6, 2e6, -1e6, -2e6)
LARGEST = 2**20
"""Constants with more elements than this are not evaluated."""

SUMS = "add __add__ __radd__ add_ __iadd__ sub subtract __sub__ __rsub__ rsub sub_ __isub__ neg negative __neg__ neg_"
PRODUCTS = (
    "mul multiply __mul__ __rmul__ mul_ multiply_ __imul__ div divide true_divide __truediv__ __rtruediv__ __rdiv__ "
    "div_ divide_ true_divide_ __itruediv__ __idiv__"
)
CHOICES = "where masked_fill masked_fill_ maximum minimum fmax fmin max min"
GATES = (
    "sigmoid hardsigmoid expit erf sigmoid_ hardsigmoid_ reciprocal reciprocal_ sqrt rsqrt sqrt_ rsqrt_ "
    "gt ge lt le eq ne greater greater_equal less less_equal not_equal __gt__ __ge__ __lt__ __le__ __eq__ __ne__"
)
CURVED = (
    "exp expm1 abs __abs__ absolute sign sgn erfc ndtr logaddexp xlogy atan arctan heaviside sinh cosh asinh log1p "
    "exp2 hypot logical_and logical_or logical_not __and__ __or__ __invert__ bitwise_not"
)
COPIES = "clone contiguous float double half bfloat16 to type type_as detach"


class Curve(NamedTuple):
    """A function of ``base``, with torch's count ``version`` of in-place changes when it was read.

    Attributes:
        real: the function's values at the probes, ``(11, …)``, by the network's own operations; broadcasts as the base.
        linear: its values by the rules; None if the rules give no affine function.
    """

    base: Tensor
    version: int
    real: Tensor
    linear: Tensor | None

    @property
    def valid(self) -> bool:
        return self.base._version == self.version


@dataclass(frozen=True)
class Kinds:
    """Elementwise functions, grouped by how the rules treat them."""

    identities: frozenset[Any]
    sums: frozenset[Any]
    products: frozenset[Any]
    choices: frozenset[Any]
    gates: frozenset[Any]
    curved: frozenset[Any]
    copies: frozenset[Any]

    def __contains__(self, func: object) -> bool:
        kinds = (self.identities, self.sums, self.products, self.choices, self.gates, self.curved)
        return any(func in kind for kind in kinds)


def curve_of(value: object) -> Curve | None:
    """The function stored on a tensor; the identity if none is stored and the tensor depends on the input."""
    if not isinstance(value, Tensor):
        return None
    curve = past_of(value).curve
    if curve is not None and curve.valid:
        return curve
    if not sees_input(value) or not value.is_floating_point() or past_of(value).constant:
        return None
    probes = torch.tensor(PROBES, dtype=torch.float64, device=value.device).view(-1, *[1] * value.ndim)
    return Curve(value, value._version, probes, probes)


class Meeting(NamedTuple):
    """The result of an operation on curves.

    Attributes:
        curve: which function the result is.
        slope: set if the base times it must replace the result of the rules.
        joined: whether two parts of one function met.
        bends: whether they gave a function that is not a line.
        unsolved: whether that function has no slope far out, so that the rules alone decide.
    """

    curve: Curve
    slope: Tensor | None
    joined: bool
    bends: bool = False
    unsolved: bool = False

    def scaled(self) -> Tensor:
        slope = self.slope
        assert slope is not None
        return self.curve.base * slope.to(self.curve.base)


@torch.no_grad()
def meet(kinds: Kinds, func: Callable[..., Any], args: Any, kwargs: Any) -> Meeting | None:
    """The result of an operation on functions of one tensor; None for other operations."""
    if func in kinds.copies:
        curve = past_of(args[0]).curve
        return Meeting(curve._replace(real=curve.real.double()), None, False) if curve and curve.valid else None
    if func not in kinds or "out" in kwargs:
        return None
    leaves, layout = pytree.tree_flatten((args, kwargs))
    curves = [curve_of(leaf) for leaf in leaves]
    found = [curve for curve in curves if curve is not None]
    if not found or not _alike(func, leaves, curves, found):
        return None
    base = found[0].base
    real = _apply(func, layout, leaves, [curve and curve.real for curve in curves])
    if real is None or real.ndim != base.ndim + 1:
        return None
    linear = _linear(kinds, func, layout, leaves, curves)
    joined = len(found) > 1
    far = steepest(real) if real.is_floating_point() and (joined or linear is None) else None
    slope = None if far is not None and _has_slope(linear, far) else far
    if slope is not None:
        linear = slope * found[0].base.new_tensor(PROBES, dtype=torch.float64).view(-1, *[1] * base.ndim)
    bends = joined and real.is_floating_point() and not _is_line(real)
    return Meeting(Curve(base, found[0].version, real, linear), slope, joined, bends, bends and far is None)


def _has_slope(linear: Tensor | None, slope: Tensor) -> bool:
    """Whether the rules give a function of this slope."""
    same = None if linear is None else steepest(linear)
    return same is not None and bool(((same - slope).abs() <= 1e-9 + 1e-6 * slope.abs()).all())


def _alike(func: Callable[..., Any], leaves: list[Any], curves: list[Curve | None], found: list[Curve]) -> bool:
    if getattr(func, "__name__", "") in ("max", "min") and not (len(leaves) == 2 and isinstance(leaves[1], Tensor)):
        return False
    if any(curve.base is not found[0].base for curve in found):
        return False
    for leaf, curve in zip(leaves, curves, strict=True):
        if isinstance(leaf, Tensor) and curve is None and not _is_small_constant(leaf, found[0].base.ndim):
            return False
    return True


def _is_small_constant(tensor: Tensor, dimensions: int) -> bool:
    real = not is_dependent(tensor) and not tensor.is_complex()
    return real and tensor.ndim <= dimensions and tensor.numel() <= LARGEST


def _apply(func: Callable[..., Any], layout: Any, leaves: list[Any], samples: list[Tensor | None]) -> Tensor | None:
    """Apply the operation to samples, and to constants unchanged."""

    def stand_for(leaf: Any, sample: Tensor | None) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        value = leaf.detach() if sample is None else sample
        return value.double().clone() if value.is_floating_point() else value.clone()

    args, kwargs = pytree.tree_unflatten(
        [stand_for(leaf, sample) for leaf, sample in zip(leaves, samples, strict=True)], layout
    )
    try:
        result = func(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    return result if isinstance(result, Tensor) and not result.is_complex() else None


def _linear(
    kinds: Kinds, func: Callable[..., Any], layout: Any, leaves: list[Any], curves: list[Curve | None]
) -> Tensor | None:
    found = [curve for curve in curves if curve is not None]
    if func in kinds.gates:
        if any(curve.linear is None for curve in found):
            return None
        return torch.ones_like(found[0].real, dtype=torch.float64)
    if func in kinds.identities:
        return None if _is_constant(found[0].linear) else found[0].linear
    if func in kinds.choices:
        values = [curve for curve in found if curve.real.is_floating_point()]
        return values[0].linear if len(values) == 1 else None
    if any(curve.linear is None for curve in found):
        return None
    if func in kinds.products and sum(not _is_constant(curve.linear) for curve in found) > 1:
        return None
    if func in kinds.sums or func in kinds.products:
        return _apply(func, layout, leaves, [curve and curve.linear for curve in curves])
    return None


def _is_constant(samples: Tensor | None) -> bool:
    return samples is not None and bool((samples == samples[:1]).all())


def _is_line(samples: Tensor) -> bool:
    """Whether the values at the probes are those of one line."""
    probes = samples.new_tensor(PROBES, dtype=torch.float64).view(-1, *[1] * (samples.ndim - 1))
    line = samples[6:7] + (samples[0:1] - samples[6:7]) / PROBES[0] * probes
    return torch.allclose(samples.double(), line.double(), rtol=1e-6, atol=1e-9)


def steepest(samples: Tensor) -> Tensor | None:
    """The slope far out on the steeper side; None if the function has none, if it is 0, or if the function is even."""
    sides = _slopes(samples[0:3], samples[7:9]), _slopes(-samples[3:6], -samples[9:11])
    if all(side.straight for side in sides):
        right, left = (side.near for side in sides)
    elif all(side.straight or side.bends_slowly for side in sides):
        right, left = (side.far for side in sides)
    else:
        return None
    slope = torch.where(left.abs() > right.abs() * (1 + 1e-9), left, right)
    slope = torch.where(slope.abs() < 1e-9, torch.zeros_like(slope), slope)
    even = ((left + right).abs() < 1e-9 * right.abs()).any()
    return None if bool(even) or not bool(slope.any()) else slope


class Slopes(NamedTuple):
    """A function's slopes on one side of 0, at 200 and at a million.

    ``straight``: it is a line from 50 on; ``bends_slowly``: it comes near a line of the second slope.
    """

    near: Tensor
    far: Tensor
    straight: bool
    bends_slowly: bool


def _slopes(values: Tensor, far_values: Tensor) -> Slopes:
    """From the values at 50, 100 and 200, and at 1e6 and 2e6."""
    first, near = (values[1] - values[0]) / 50, (values[2] - values[1]) / 100
    far = (far_values[1] - far_values[0]) / 1e6
    straight = bool(torch.isfinite(first).all()) and torch.allclose(first, near, rtol=1e-6, atol=1e-9)
    finite = bool(torch.isfinite(first).all() and torch.isfinite(far_values).all())
    alike = finite and all(torch.allclose(slope, far, rtol=1e-3, atol=1e-3) for slope in (first, near))
    offset = torch.where(far.abs() > 1e-3, values[2] - far * 200, 0.0)
    settled = alike and torch.allclose(far_values[1] - far * 2e6, offset, rtol=1e-3, atol=0.05)
    return Slopes(near, far, straight, settled)


def limit(curve: Curve | None) -> Tensor | None:
    """A bounded function's limit on the right; None if it is not bounded, or if both limits are 0."""
    if curve is None or not curve.valid or not curve.real.is_floating_point():
        return None
    right, left = curve.real[1:3], curve.real[4:6]
    if _is_constant(curve.real) or not all(torch.allclose(side[0], side[1], 1e-9, 1e-9) for side in (left, right)):
        return None
    return right[1] if bool((right[1].abs() > 1e-9).any() | (left[1].abs() > 1e-9).any()) else None


def opening(past: Past) -> Tensor | None:
    """The limit on the right of a bounded function, also after changes of its shape; None if it has none."""
    return past.opens_to if past.opens_to is not None else limit(past.curve)


def is_gate(curve: Curve | None) -> bool:
    """Whether a function is bounded, not negative, and half open at 0 or at most 1, like a sigmoid."""
    right = limit(curve)
    if curve is None or right is None:
        return False
    left, middle = curve.real[5], curve.real[6]
    half_open = torch.allclose(middle, (left + right) / 2, rtol=1e-6, atol=1e-9)
    return bool((left > -1e-9).all()) and (half_open or bool((right < 1 + 1e-9).all()))


def vanishes(curve: Curve) -> bool:
    """Whether the rules turn a function that is not constant into a constant."""
    return _is_constant(curve.linear) and not _is_constant(curve.real)


def frozen(curve: Curve, constant: Tensor) -> Curve:
    """The curve of a tensor that became ``constant``: its one value, else a gate's value far out, or 1."""
    value, real = limit(curve), curve.real
    if constant.is_floating_point() and not past_of(constant).discrete and _is_constant(constant.flatten()):
        value = constant.detach().flatten()[0].double()
    return curve._replace(linear=torch.ones_like(real, dtype=torch.float64) if value is None else value.expand_as(real))
