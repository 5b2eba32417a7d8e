"""Functions of one tensor, element by element, however they are spelled: what they come to far from 0.

``0.5 * x * (1 + tanh(...))``, ``max(x, 0.1 * x)`` and ``log(1 + exp(x))`` are compositions of operations that have
rules of their own, and these rules need not compose: 1 + tanh opens to 2. So beside every tensor that is such a
function of another one, its *base*, goes the real function's value where the base is 50, 100, 200, the negatives of
these, and 0. Where two parts of one function meet, the function becomes its slope far out, times the base: the steeper
one of both sides. Where it multiplies another tensor and is bounded, as gates are, it becomes its value far out, on the
right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from auditor.linear.history import is_dependent, past_of, sees_input

PROBES = (50.0, 100.0, 200.0, -50.0, -100.0, -200.0, 0.0)
LARGEST = 2**20
"""A constant of more elements than this is not followed."""

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
    "exp2 logical_and logical_or logical_not __and__ __or__ __invert__ bitwise_not"
)
COPIES = "clone contiguous float double half bfloat16 to type type_as"


class Curve(NamedTuple):
    """A function of ``base``, which had been changed in place ``version`` times when it was read.

    Attributes:
        real: what the network's own operations make of the probes, ``(7, …)``; broadcasts as the base does.
        linear: what the rules make of them; None where they make nothing affine.
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
    """Functions that work element by element, by what the rules make of them."""

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
    """The function that a tensor is; of itself where nothing is known and it sees the input."""
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
    """What an operation makes of curves: the next one, and its slope where that must replace what the rules make."""

    curve: Curve
    slope: Tensor | None
    joined: bool

    def scaled(self) -> Tensor:
        slope = self.slope
        assert slope is not None
        return self.curve.base * slope.to(self.curve.base)


@torch.no_grad()
def meet(kinds: Kinds, func: Callable[..., Any], args: Any, kwargs: Any) -> Meeting | None:
    """What comes of an operation on functions of one tensor; None where it is not that."""
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
    slope = steepest(real) if real.is_floating_point() and (joined or linear is None) else None
    if slope is not None and linear is not None:
        same = steepest(linear)
        if same is not None and bool(((same - slope).abs() <= 1e-9 + 1e-6 * slope.abs()).all()):
            slope = None
    if slope is not None:
        linear = slope * found[0].base.new_tensor(PROBES, dtype=torch.float64).view(-1, *[1] * base.ndim)
    return Meeting(Curve(base, found[0].version, real, linear), slope, joined)


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
    """The operation on samples, and on constants as they are."""

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


def steepest(samples: Tensor) -> Tensor | None:
    """The slope far out, of the steeper side; None where there is none, where it is 0, and where a function is even."""
    right = (samples[1] - samples[0]) / 50, (samples[2] - samples[1]) / 100
    left = (samples[3] - samples[4]) / 50, (samples[4] - samples[5]) / 100
    for near, far in (right, left):
        if not bool(torch.isfinite(near).all()) or not torch.allclose(near, far, rtol=1e-6, atol=1e-9):
            return None
    slope = torch.where(left[1].abs() > right[1].abs() * (1 + 1e-9), left[1], right[1])
    slope = torch.where(slope.abs() < 1e-9, torch.zeros_like(slope), slope)
    even = ((left[1] + right[1]).abs() < 1e-9 * right[1].abs()).any()
    return None if bool(even) or not bool(slope.any()) else slope


def limit(curve: Curve | None) -> Tensor | None:
    """What a bounded function comes to on the right; None where it is not bounded, or vanishes on both sides."""
    if curve is None or not curve.valid or not curve.real.is_floating_point():
        return None
    right, left = curve.real[1:3], curve.real[4:6]
    if _is_constant(curve.real) or not all(torch.allclose(side[0], side[1], 1e-9, 1e-9) for side in (left, right)):
        return None
    return right[1] if bool((right[1].abs() > 1e-9).any() | (left[1].abs() > 1e-9).any()) else None


def is_gate(curve: Curve | None) -> bool:
    """Whether a function is bounded, not negative, and half open at 0 or never above 1, as a sigmoid by hand is."""
    right = limit(curve)
    if curve is None or right is None:
        return False
    left, middle = curve.real[5], curve.real[6]
    half_open = torch.allclose(middle, (left + right) / 2, rtol=1e-6, atol=1e-9)
    return bool((left > -1e-9).all()) and (half_open or bool((right < 1 + 1e-9).all()))


def vanishes(curve: Curve) -> bool:
    """Whether the rules make a constant of a function that is none."""
    return _is_constant(curve.linear) and not _is_constant(curve.real)


def frozen(curve: Curve) -> Curve:
    """The curve of a tensor that became constant: a gate's value far out, or 1."""
    value = limit(curve)
    real = curve.real
    return curve._replace(linear=torch.ones_like(real, dtype=torch.float64) if value is None else value.expand_as(real))
