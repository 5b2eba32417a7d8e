"""The implicit linear map W of a network and the correlation of its class templates, never without the check."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.errors import InputError, LinearizationError, first_line
from auditor.linear.affinity import affinity_error, blame, probe_points, relative, worst
from auditor.linear.linearize import BatchNorm, Linearized, linearize

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
W_IS_ZERO = "W is 0: once linearized, the logits do not depend on the input (does the model end with a softmax?)"
HELD_BYTES = 2**30  # a larger W is never held: the Gram matrix comes from forward passes of its rows


@dataclass(frozen=True)
class TemplateGram:
    """``W Wᵀ`` of an implicit linear map.

    Attributes:
        gram: ``(K, K)`` float64.
        affinity_error: relative, the larger of the affinity check and of W against forward passes.
        dtype: what the network ran in, ``float32`` or ``float64``.
    """

    gram: Tensor
    affinity_error: float
    dtype: str


def implicit_weight(model: nn.Module, input_size: tuple[int, int, int], *, batch_norm: BatchNorm = "remove") -> Tensor:
    """The implicit linear map W of the linearized network (Bai et al., NeurIPS 2021, section 3).

    Backward passes from one graph of five images, with rows of the identity as cotangents: five classes a pass.

    Args:
        model: a classifier, ``(N, C, H, W)`` to logits ``(N, K)``; left untouched.
        input_size: ``(C, H, W)``.
        batch_norm: ``remove`` or ``fold``, see :func:`auditor.linear.linearize`.

    Returns:
        ``(K, C, H, W)``; row k is class k's template. In the model's dtype, or in float64 where float32 is not
        enough (values that are not finite, or an affinity error above 1e-3).

    Raises:
        LinearizationError: the linearized network is not affine, not finite, or W is 0; names the operation.
        InputError: ``input_size`` or ``batch_norm`` is not what it should be.
    """
    return _checked(model, input_size, batch_norm, double=False, read=AffineMap.weight)[0]


def class_correlation(
    model: nn.Module, input_size: tuple[int, int, int], *, batch_norm: BatchNorm = "remove"
) -> Tensor:
    """Cosine similarities of the class templates, ``C = W̃ W̃ᵀ``, ``(K, K)`` float64 on the CPU.

    Arguments and errors are those of :func:`implicit_weight`. A class with a zero template has NaN in its row and
    column. Where W is larger than 1 GiB it is never held: see :func:`template_gram`.
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
) -> TemplateGram:
    """``W Wᵀ``, from which the correlation and its variants follow; arguments and errors as :func:`implicit_weight`.

    A W of more than ``held_bytes`` is not held: as ``f_lin(w) - f_lin(0) = W w``, a forward pass over a chunk of
    templates gives the chunk's rows of the Gram matrix. ``double`` asks for float64 from the start.
    """
    gram, affine = _checked(model, input_size, batch_norm, double=double, read=lambda affine: affine.gram(held_bytes))
    return TemplateGram(gram.cpu(), affine.error, str(affine.points.dtype).removeprefix("torch."))


class AffineMap:
    """A linearized network on its way to W: what it gives at the probe points, and its templates chunk by chunk.

    ``error`` grows to the worst disagreement found so far; it is complete once the templates have been read.
    """

    def __init__(self, linear: Linearized, points: Tensor) -> None:
        self.linear, self.points = linear, points
        self.images = points.clone().requires_grad_()
        self.logits = linear(self.images)
        self.outputs = self.logits.detach()
        if self.outputs.ndim != 2:
            raise LinearizationError(f"expected logits (N, K), the model gives {tuple(self.outputs.shape)}")
        if not self.logits.requires_grad:
            raise LinearizationError(W_IS_ZERO)
        self.error = affinity_error(self.outputs)

    def templates(self) -> Iterator[tuple[int, Tensor]]:
        """Each chunk's first class and its rows of W, ``(chunk, C, H, W)``, checked against the forward pass.

        An affine network has one Jacobian everywhere, so the check's own graph serves: no second forward pass.
        """
        classes, size = self.outputs.shape[1], len(self.images)
        for first in range(0, classes, size):
            rows = min(size, classes - first)
            cotangent = torch.zeros_like(self.logits)
            cotangent[range(rows), range(first, first + rows)] = 1
            (gradient,) = torch.autograd.grad(self.logits, self.images, cotangent, retain_graph=True)
            self._compare(first, gradient[:rows])
            yield first, gradient[:rows]

    def _changes(self) -> Tensor:
        """``f(x) - f(0)`` at the other probe points, ``(4, K)`` float64."""
        changes: Tensor = self.outputs[1:].double() - self.outputs[0].double()
        return changes

    def _compare(self, first: int, templates: Tensor) -> None:
        """A forward pass at random points must give what W says: no path may hide from the gradient."""
        seen = self._changes()[:, first : first + len(templates)]
        said = (self.points[1:].flatten(1) @ templates.flatten(1).T).double()
        self.error = worst(self.error, relative(said - seen, seen))

    def weight(self) -> Tensor:
        """W, ``(K, C, H, W)``."""
        weight = self.points.new_empty(self.outputs.shape[1], *self.points.shape[1:])
        for first, templates in self.templates():
            weight[first : first + len(templates)] = templates
        return weight

    def gram(self, held_bytes: int) -> Tensor:
        """``W Wᵀ``, ``(K, K)`` float64."""
        pixels, classes = self.points[0].numel(), self.outputs.shape[1]
        if classes * pixels * self.points.element_size() > held_bytes:
            gram = torch.cat([self._gram_rows(templates) for _, templates in self.templates()])
            return (gram + gram.T) / 2
        gram = torch.zeros(classes, classes, dtype=torch.float64, device=self.points.device)
        for block in torch.split(self.weight().flatten(1), 4096, dim=1):
            gram += block.double() @ block.double().T
        return gram

    def _gram_rows(self, templates: Tensor) -> Tensor:
        sizes = templates.double().flatten(1).norm(dim=1).clamp_min(1e-300)
        scale = (math.sqrt(templates[0].numel()) / sizes).view(-1, 1, 1, 1)  # as large as the probe points
        passed: Tensor = self.linear((templates * scale).to(templates.dtype)) - self.outputs[0]
        rows: Tensor = passed.double() / scale.flatten(1)
        return rows


def _checked(
    model: nn.Module,
    input_size: tuple[int, int, int],
    batch_norm: BatchNorm,
    *,
    double: bool,
    read: Callable[[AffineMap], Tensor],
) -> tuple[Tensor, AffineMap]:
    """What ``read`` makes of the model's affine map, in float32 where that is enough, else in float64."""
    if len(input_size) != 3 or min(input_size) < 1:
        raise InputError(f"expected an input size (C, H, W) of positive numbers, got {tuple(input_size)}")
    linear = linearize(model, batch_norm=batch_norm)
    sample = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.zeros(1))
    only_double = double or sample.dtype == torch.float64
    for dtype in (torch.float64,) if only_double else (torch.float32, torch.float64):
        points = probe_points(input_size, sample.new_empty(0, dtype=dtype))
        try:
            affine = AffineMap(linear.to(dtype), points)
            if affine.error <= TOLERANCE[dtype]:
                result = read(affine)
                if affine.error <= TOLERANCE[dtype]:
                    return _not_zero(result), affine
        except (LinearizationError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # other people's code
            raise LinearizationError(f"the linearized network does not run: {first_line(error)}") from error
    raise LinearizationError(_diagnosis(affine, input_size))


def _not_zero(result: Tensor) -> Tensor:
    if not result.any():
        raise LinearizationError(W_IS_ZERO)
    return result


def _diagnosis(affine: AffineMap, input_size: tuple[int, int, int]) -> str:
    culprits = blame(affine.linear, input_size, affine.points)
    if math.isnan(affine.error):
        return f"values that are not finite, in float64 too, first from {', '.join(culprits) or 'the gradient'}"
    if culprits:
        return f"not affine (error {affine.error:.1e}): no linear stand-in for {', '.join(culprits)}"
    return (
        f"the gradient of the linearized network does not match its forward pass (error {affine.error:.1e}): "
        "an operation hides its input from autograd"
    )
