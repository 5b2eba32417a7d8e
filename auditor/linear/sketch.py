"""W times random images: an estimate of a linearized network's templates from a few forward passes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import InputError
from auditor.linear.affinity import larger_error, relative_error
from auditor.linear.mode import BatchNorm
from auditor.linear.weight import AffineMap, checked

FEWEST_PROBES = 8
BATCH = 8


@dataclass(frozen=True)
class TemplateSketch:
    """``W r`` for R random images.

    Attributes:
        responses: ``(R, K)`` float64 on the CPU; row n is the change of the logits by probe image n.
        affinity_error: the larger error of the affinity check and of the gradient compared with forward passes.
        dtype: the dtype that the network ran in, ``float32`` or ``float64``.
    """

    responses: Tensor
    affinity_error: float
    dtype: str

    @property
    def gram(self) -> Tensor:
        """An unbiased estimate of ``W Wᵀ``, ``(K, K)`` float64."""
        return self.responses.T @ self.responses / len(self.responses)


def template_sketch(
    model: nn.Module,
    input_size: tuple[int, int, int],
    *,
    probes: int,
    batch_norm: BatchNorm = "remove",
    seed: int = 0,
    double: bool = False,
) -> TemplateSketch:
    """Responses ``f_lin(r) - f_lin(0) = W r`` to R = ``probes`` images of standard normal pixels, by forward passes.

    ``E[W r (W r)ᵀ] = W Wᵀ``, so that correlations of classes over the probes estimate those of their templates. The
    network is checked as for W itself, with one backward pass of random combinations of the classes. Probes are drawn
    one by one on the CPU, so they depend only on ``seed``. Other arguments are those of :func:`template_gram`.

    Raises:
        InputError: fewer than 8 probes; ``input_size`` or ``batch_norm`` is not as described.
        LinearizationError: as :func:`auditor.linear.implicit_weight`.
    """
    if probes < FEWEST_PROBES:
        raise InputError(
            f"expected at least {FEWEST_PROBES} probes, got {probes}: with fewer the standard error cannot be estimated"
        )
    responses, affine = checked(
        model, input_size, batch_norm, double=double, read=lambda affine: _responses(affine, probes, seed)
    )
    return TemplateSketch(responses.cpu(), affine.error, str(affine.points.dtype).removeprefix("torch."))


def _responses(affine: AffineMap, probes: int, seed: int) -> Tensor:
    affine.error = larger_error(affine.error, _hidden_error(affine))
    # As far out as the points of the affinity check, or biases would drown them.
    reach = affine.points[1].double().std()
    # The linearized network needs autograd's marks on tensors, but not the tensors that autograd saves for a backward.
    with torch.autograd.graph.saved_tensors_hooks(_forget, _forget):
        passed = [affine.linear(batch) - affine.outputs[0] for batch in _batches(affine.points, reach, probes, seed)]
    return torch.cat(passed).double() / reach


def _forget(_: Any) -> Any:
    return None


def _batches(points: Tensor, reach: Tensor, probes: int, seed: int) -> Iterator[Tensor]:
    """The probes times ``reach``, on the device and in the dtype of ``points``."""
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, probes, BATCH):
        count = min(BATCH, probes - first)
        drawn = [torch.randn(points.shape[1:], generator=generator, dtype=torch.float64) for _ in range(count)]
        yield (reach * torch.stack(drawn).to(reach)).to(points)


def _hidden_error(affine: AffineMap) -> float:
    """``cᵀ W u`` by the gradient against ``cᵀ g(u)`` by forward passes: no path may hide from the gradient.

    Two random combinations c of all the classes, one for each of two images in one backward pass. All classes
    have the same weight in them.
    """
    images = affine.points[:2].clone().requires_grad_()
    logits = affine.linear(images)
    changes = affine.outputs[1:].double() - affine.outputs[0].double()
    sizes = changes.abs().amax(0)
    sizes = sizes.clamp_min(1e-6 * sizes.max()).clamp_min(1e-300)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(sizes)
    cotangent = (drawn * (sizes.min() / sizes)).to(logits)
    (gradient,) = torch.autograd.grad(logits, images, cotangent)
    predicted = (affine.points[1:].double().flatten(1) @ gradient.double().flatten(1).T).reshape(-1, 1)
    observed = (changes @ cotangent.double().T).reshape(-1, 1)
    return relative_error(predicted - observed, observed)
