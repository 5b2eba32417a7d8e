"""The implicit linear map W of a network and the correlation of its class templates, never without the check."""

import math
import operator
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.errors import InputError, LinearizationError, describe, one_line
from auditor.linear.affinity import (
    REACH,
    affinity_error,
    find_nonaffine,
    larger_error,
    offset_ratio,
    probe_points,
    relative_error,
)
from auditor.linear.linearize import Linearized, checked_model, linearize, sample_of
from auditor.linear.mode import BatchNorm, LinearMode
from auditor.torch_state import default_modes, trackable

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
W_IS_ZERO = "W is 0: once linearized, the logits do not depend on the input"
EQUAL_TEMPLATES = (
    "once linearized, all classes have the same template: they differ only in a square or a product without a rule "
    "((f - w).square().sum(-1) and torch.cdist have rules)"
)
SAME = 1e-6  # templates are the same if they differ by less, relative to the largest
HELD_BYTES = 2**30  # a larger W is never held in memory: the Gram matrix comes from forward passes of its rows
MAX_OFFSET_RATIO = 1e3  # if f(0) is this much larger than f - f(0), the probe points move further out
MAX_REACHES = 4  # the number of distances that are tried


@dataclass(frozen=True)
class TemplateGram:
    """``W Wᵀ`` of an implicit linear map.

    Attributes:
        gram: ``(K, K)`` float64, of ``W / scale``.
        affinity_error: relative, the larger error of the affinity check and of W compared with forward passes.
        dtype: the dtype that the network ran in, ``float32`` or ``float64``.
        scale: 1, unless W is so large or small that its squares would leave float64.
        pictures: ``(K, C, h, w)`` float64, means over cells of the templates; None if they were not requested.
    """

    gram: Tensor
    affinity_error: float
    dtype: str
    scale: float = 1.0
    pictures: Tensor | None = None

    @property
    def norm(self) -> float:
        """The Frobenius norm of W."""
        return self.scale * math.sqrt(float(self.gram.diagonal().sum()))


def implicit_weight(model: nn.Module, input_size: tuple[int, int, int], *, batch_norm: BatchNorm = "remove") -> Tensor:
    """The implicit linear map W of the linearized network (Bai et al., NeurIPS 2021, section 3).

    Each backward pass, from one graph of five images, takes rows of the identity as cotangents: five classes per pass.

    Args:
        model: a classifier, ``(N, C, H, W)`` to logits ``(N, K)``; left untouched.
        input_size: ``(C, H, W)``.
        batch_norm: ``remove`` or ``fold``, see :func:`auditor.linear.linearize`.

    Returns:
        ``(K, C, H, W)``; row k is class k's template. In the model's dtype, or in float64 where float32 is not
        enough (values that are not finite, or an affinity error above 1e-3).

    Raises:
        LinearizationError: the linearized network is not affine, not finite, or W is 0; names the operation.
        InputError: ``input_size`` or ``batch_norm`` is not as described.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
        >>> weight = implicit_weight(model, (1, 2, 2))
        >>> weight.shape, torch.equal(weight.flatten(1), model[1].weight)
        (torch.Size([2, 1, 2, 2]), True)
    """
    return checked(model, input_size, batch_norm, double=False, read=AffineMap.weight)[0]


def class_correlation(
    model: nn.Module, input_size: tuple[int, int, int], *, batch_norm: BatchNorm = "remove"
) -> Tensor:
    """Cosine similarities of the class templates, ``C = W̃ W̃ᵀ``, ``(K, K)`` float64 on the CPU.

    Arguments and errors are those of :func:`implicit_weight`. A class with a zero template has NaN in its row and
    column. A W of more than 1 GiB is never held in memory, see :func:`template_gram`.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> class_correlation(model, (1, 2, 2)).shape
        torch.Size([3, 3])
    """
    gram = template_gram(model, input_size, batch_norm=batch_norm).gram
    sizes = gram.diagonal().clamp_min(0).sqrt()
    correlation = (gram / sizes.outer(sizes)).clamp(-1, 1)
    return correlation.masked_fill((sizes == 0)[:, None] | (sizes == 0)[None, :], math.nan)


def template_gram(
    model: nn.Module,
    input_size: tuple[int, int, int],
    *,
    batch_norm: BatchNorm = "remove",
    double: bool = False,
    held_bytes: int = HELD_BYTES,
    pictures: tuple[int, int] | None = None,
) -> TemplateGram:
    """``W Wᵀ``, from which the correlation and its variants follow; arguments and errors as :func:`implicit_weight`.

    A W of more than ``held_bytes`` is not held in memory: because ``f_lin(w) - f_lin(0) = W w``, a forward pass over a
    chunk of templates gives the chunk's rows of the Gram matrix. ``double`` asks for float64 from the start.
    ``pictures``: the height and width of pictures of the templates, which come from the same backward passes.
    """

    def read(affine: AffineMap) -> Tensor:
        affine.picture_size = pictures
        return affine.gram(held_bytes)

    gram, affine = checked(model, input_size, batch_norm, double=double, read=read)
    dtype = str(affine.points.dtype).removeprefix("torch.")
    return TemplateGram(gram.cpu(), affine.error, dtype, affine.scale, affine.pictures())


class AffineMap:
    """A linearized network's outputs at the probe points, and its templates chunk by chunk.

    ``error`` grows to the worst disagreement found so far; it is complete once the templates have been read.
    ``picture_size``: the height and width of :meth:`pictures`, to be set before the templates are read.
    """

    picture_size: tuple[int, int] | None = None

    def __init__(self, linear: Linearized, points: Tensor) -> None:
        self.linear, self.points = linear, points
        self.images = points.clone().requires_grad_()
        mode = LinearMode(linear.batch_norm)
        logits = linear.run(self.images, mode)
        self.outputs = logits.detach()
        if self.outputs.ndim != 2:
            raise LinearizationError(f"expected logits (N, K), the model gives {tuple(self.outputs.shape)}")
        self.constants = tuple(mode.constants)
        if not logits.requires_grad or bool((self.outputs == self.outputs[:1]).all()):
            raise LinearizationError(nothing_left(self.constants))
        changes = self.outputs[1:].double() - self.outputs[0].double()
        largest = changes.abs().max()
        if (
            changes.shape[1] > 1
            and bool(largest.isfinite())
            and bool(((changes - changes[:, :1]).abs() <= SAME * largest).all())
        ):
            raise LinearizationError(EQUAL_TEMPLATES)
        self.error = affinity_error(self.outputs)
        head = mode.head
        through = head is not None and head.gives(logits) and head.weight.shape[1] < head.weight.shape[0]
        self.head = head.weight.detach() if head is not None and through else None
        self.narrow = head.features if head is not None and through else logits
        if self.head is not None:  # the head times the features must give the logits
            predicted = self.narrow.detach().double() @ self.head.double().T
            self.error = larger_error(self.error, relative_error(predicted[1:] - predicted[0] - changes, changes))
        self.scale = self._scale()

    def _scale(self) -> float:
        """About the size of J if its squares would leave the range of float64, else 1."""
        narrow = self.narrow.detach().double()
        size = float((narrow[1:] - narrow[0]).abs().max() / self.points[1].double().norm())
        return size if math.isfinite(size) and size > 0 and not 1e-60 < size < 1e60 else 1.0

    def rows(self) -> Iterator[tuple[int, Tensor]]:
        """Chunks of J, the Jacobian of logits or of the head's features: first row, and rows ``(chunk, C, H, W)``.

        An affine network has one Jacobian everywhere, so the graph of the affinity check serves: no second
        forward pass is needed. Every chunk is compared with that pass.
        """
        width, size = self.narrow.shape[1], len(self.images)
        self._small: list[Tensor] = []
        for first in range(0, width, size):
            count = min(size, width - first)
            cotangent = torch.zeros_like(self.narrow)
            cotangent[range(count), range(first, first + count)] = 1
            (gradient,) = torch.autograd.grad(self.narrow, self.images, cotangent, retain_graph=True)
            self._compare(first, gradient[:count])
            if self.picture_size is not None:
                # The head's weights are applied later, because a mean over cells commutes with them.
                self._small.append(F.adaptive_avg_pool2d(gradient[:count].double(), self.picture_size))
            yield first, gradient[:count]

    def _compare(self, first: int, rows: Tensor) -> None:
        """Compare J with a forward pass at random points: no path may hide from the gradient."""
        narrow = self.narrow.detach()[:, first : first + len(rows)].double()
        observed = narrow[1:] - narrow[0]
        predicted = (self.points[1:].flatten(1) @ rows.flatten(1).T).double()
        self.error = larger_error(self.error, relative_error(predicted - observed, observed))

    def jacobian(self) -> Tensor:
        """J, ``(K or d, C, H, W)``."""
        jacobian = self.points.new_empty(self.narrow.shape[1], *self.points.shape[1:])
        for first, rows in self.rows():
            jacobian[first : first + len(rows)] = rows
        return jacobian

    def weight(self) -> Tensor:
        """W, ``(K, C, H, W)``."""
        jacobian = self.jacobian()
        return jacobian if self.head is None else torch.einsum("kd,dchw->kchw", self.head, jacobian)

    def pictures(self) -> Tensor | None:
        """Means over cells of the templates, ``(K, C, h, w)`` float64 on the CPU; None without a picture size."""
        if self.picture_size is None:
            return None
        small = torch.cat(self._small)
        return (small if self.head is None else torch.einsum("kd,dchw->kchw", self.head.double(), small)).cpu()

    def gram(self, held_bytes: int) -> Tensor:
        """``W Wᵀ`` over the square of the scale, ``(K, K)`` float64."""
        held = self.narrow.shape[1] * self.points[0].numel() * self.points.element_size() <= held_bytes
        gram = self._gram_held() if held else self._gram_passed()
        return gram if self.head is None else self.head.double() @ gram @ self.head.double().T

    def _gram_held(self) -> Tensor:
        width = self.narrow.shape[1]
        gram = torch.zeros(width, width, dtype=torch.float64, device=self.points.device)
        for block in torch.split(self.jacobian().flatten(1), 4096, dim=1):
            scaled = block.double() / self.scale
            gram += scaled @ scaled.T
        return gram

    def _gram_passed(self) -> Tensor:
        """From forward passes over the rows of J, as ``narrow(w) - narrow(0) = J w``: J is never held in memory."""
        gram = torch.cat([self._pass(rows) for _, rows in self.rows()])
        return (gram + gram.T) / 2

    def _pass(self, rows: Tensor) -> Tensor:
        sizes = self.scale * (rows.double() / self.scale).flatten(1).norm(dim=1).clamp_min(1e-300)
        reach = (self.points[1].double().norm() / sizes).view(-1, 1, 1, 1)  # as large as the probe points
        mode = LinearMode(self.linear.batch_norm)
        passed = self.linear.run((rows * reach).to(rows.dtype), mode)
        if self.head is not None and mode.head is not None:
            passed = mode.head.features.detach()
        change = (passed.double() - self.narrow[0].detach().double()) / self.scale
        result: Tensor = change / (reach.flatten(1) * self.scale)
        return result


def checked(
    model: nn.Module,
    input_size: tuple[int, int, int],
    batch_norm: BatchNorm,
    *,
    double: bool,
    read: Callable[[AffineMap], Tensor],
) -> tuple[Tensor, AffineMap]:
    """``read`` of the model's checked affine map, in float32 if that is enough, else in float64; and the map."""
    size = _checked_size(input_size)
    with default_modes(torch.get_default_dtype()), trackable(checked_model(model)):
        return _checked(model, size, batch_norm, double, read)


def _checked_size(input_size: Any) -> tuple[int, int, int]:
    try:
        channels, height, width = (operator.index(size) for size in input_size)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise InputError(one_line(f"expected an input size (C, H, W) of positive numbers, got {input_size!r}"))
    return channels, height, width


def _checked(
    model: nn.Module,
    input_size: tuple[int, int, int],
    batch_norm: BatchNorm,
    double: bool,
    read: Callable[[AffineMap], Tensor],
) -> tuple[Tensor, AffineMap]:
    linear = linearize(model, batch_norm=batch_norm)
    sample = sample_of(model)
    only_double = double or sample.dtype == torch.float64
    for dtype in (torch.float64,) if only_double else (torch.float32, torch.float64):
        try:
            affine = _affine_map(linear.to(dtype), input_size, sample.new_empty(0, dtype=dtype))
            if affine.error <= TOLERANCE[dtype]:
                result = read(affine)
                if affine.error <= TOLERANCE[dtype]:
                    return _not_zero(result, affine), affine
        except (LinearizationError, torch.OutOfMemoryError):
            raise
        except (Exception, SystemExit) as error:  # the model's own code
            raise LinearizationError(_does_not_run(error)) from error
    raise LinearizationError(_diagnosis(affine))


def _does_not_run(error: BaseException) -> str:
    """One line about the error. torch.cond, torch.while_loop and similar, which choose by values, are named."""
    for frame in traceback.extract_tb(error.__traceback__):
        if "_higher_order_ops" in frame.filename:
            return f"torch.{Path(frame.filename).stem} chooses by values that depend on the input: no linear stand-in"
    return f"the linearized network does not run: {describe(error)}"


def _affine_map(linear: Linearized, input_size: tuple[int, int, int], like: Tensor) -> AffineMap:
    """The affine map, from probe points so far out that biases do not hide the input's effect."""
    reach = REACH
    for _ in range(MAX_REACHES):
        affine = AffineMap(linear, probe_points(input_size, like, reach=reach))
        ratio = offset_ratio(affine.outputs)
        if not MAX_OFFSET_RATIO < ratio < math.inf:
            break
        reach *= ratio
    return affine


def _not_zero(result: Tensor, affine: AffineMap) -> Tensor:
    if not result.any():
        raise LinearizationError(nothing_left(affine.constants))
    return result


def nothing_left(constants: tuple[str, ...]) -> str:
    """The error for W = 0, with the operations that became constant."""
    if not constants:
        return f"{W_IS_ZERO}: its remaining parts cancel"
    return f"{W_IS_ZERO}: {', '.join(constants[:5])} became constant, and no other path remains"


def _diagnosis(affine: AffineMap) -> str:
    culprits = find_nonaffine(affine.linear, affine.points)
    if math.isnan(affine.error):
        return f"values that are not finite, in float64 too, first from {', '.join(culprits) or 'the gradient'}"
    if culprits:
        return f"not affine (error {affine.error:.1e}): no linear stand-in for {', '.join(culprits)}"
    return (
        f"the gradient of the linearized network does not match its forward pass (error {affine.error:.1e}): "
        "an operation hides its input from autograd, draws random numbers or mixes the images of a batch"
    )
