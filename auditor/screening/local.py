"""The local linear map of an untouched network: its Jacobian at images, and what follows from it exactly.

At x the network is ``z(x + d) = z(x) + J d`` to first order, with ``J (K, D)``. Distances and cosines do not
change when the logits are multiplied by a number above 0, nor when one function of x is added to all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.compute.batches import map_batches
from auditor.torch_state import kept_modes, trackable

EXACT_CLASSES = 100
"""Up to so many classes all rows of J are taken; above, the difference of the two largest logits alone."""
MEMORY = 2**27
"""Numbers of J that are held at once."""


@dataclass(frozen=True)
class LocalMaps:
    """What N images show.

    Attributes:
        logits: ``(N, K)`` float64.
        two_class: ``(N,)``, the first-order distance to where the runner-up wins, in the requested norm.
        all_class: ``(N,)``, the first-order distance to the nearest boundary of any class; NaN above ``most_classes``.
        slopes: ``(N,)``, the dual norm of the gradient of the two largest logits' difference.
        gram: ``(N, K, K)`` float64, ``J J^T`` of the rows without their mean; None above ``most_classes``.
        raw_gram: the same with their mean, which is *not* blind to what is added to all logits.
        mean_map: ``(K, C, H, W)`` float64, the mean of J over the images at which it is finite; None above
            ``most_classes``, and where it is finite at none.

    A distance is NaN where the gradient is zero or not finite.
    """

    logits: Tensor
    two_class: Tensor
    all_class: Tensor
    slopes: Tensor
    gram: Tensor | None
    raw_gram: Tensor | None
    mean_map: Tensor | None = None


def local_maps(
    model: nn.Module, images: Tensor, norm: str, *, batch_size: int = 64, most_classes: int = EXACT_CLASSES
) -> LocalMaps:
    """The Jacobian at each image, and the first-order distances that it gives; exact, by one backward pass a row.

    Args:
        model: ``(N, C, H, W)`` to logits ``(N, K)``; run in eval mode, and left as it was.
        images: ``(N, C, H, W)``, on the model's device.
        norm: ``Linf`` or ``L2``: of the perturbation; gradients are measured in the dual norm.
        most_classes: above so many classes only the gradient of the two largest logits' difference is taken.
    """
    with trackable(model), frozen(model):
        with torch.no_grad():
            classes = model(images[:1].clone()).shape[1]
        exact = classes <= most_classes
        held = max(1, min(batch_size, MEMORY // (images[0].numel() * (classes if exact else 2))))
        function = _exact if exact else _leading

        def measure(some: Tensor) -> Part:
            with torch.enable_grad():
                return function(model, some, norm)

        parts = map_batches(measure, images, held)
    *columns, maps = zip(*parts, strict=True)
    joined: list[Tensor | None] = [
        None if column[0] is None else torch.cat([part for part in column if part is not None]) for column in columns
    ]
    return LocalMaps(*joined, _mean_map(maps, images))  # type: ignore[arg-type, call-arg]


Part = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, tuple[Tensor, Tensor] | None]
"""The fields of LocalMaps; last the sum of J over images at which it is finite, and their number."""


def _mean_map(maps: Sequence[tuple[Tensor, Tensor] | None], images: Tensor) -> Tensor | None:
    sums = [part for part in maps if part is not None]
    count = sum(int(number) for _, number in sums)
    if not count:
        return None
    total = torch.stack([part for part, _ in sums]).sum(0)
    return (total / count).view(-1, *images.shape[1:])


def _exact(model: nn.Module, images: Tensor, norm: str) -> Part:
    logits, jacobian = _jacobian(model, images)
    top = logits.topk(2, dim=1).indices
    difference = logits.gather(1, top[:, :1]) - logits  # (N, K), 0 for the winner
    slopes = torch.stack([dual_norm(row, norm) for row in _differences(jacobian, top[:, 0])], 1)
    distances = _quotient(difference, slopes)
    distances = distances.scatter(1, top[:, :1], torch.inf)
    runner_up = top[:, 1:]
    unknown = distances.isnan().any(1)
    all_class = distances.amin(1).masked_fill(unknown, torch.nan)
    rows = jacobian.double()
    finite = rows.isfinite().flatten(1).all(1)
    total = (rows if bool(finite.all()) else rows[finite]).sum(0), finite.sum()
    raw = rows @ rows.transpose(1, 2)
    rows = rows - rows.mean(1, keepdim=True)
    return (
        logits,
        distances.gather(1, runner_up)[:, 0],
        all_class,
        slopes.gather(1, runner_up)[:, 0],
        rows @ rows.transpose(1, 2),
        raw,
        total,
    )


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The logits with their graph, although the model's own code may turn gradients off afterwards."""
    with kept_modes(torch.get_default_dtype()):
        logits: Tensor = model(images)
    return logits


def _jacobian(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``(N, K)`` float64, and J ``(N, K, D)``; rows are 0 where the model passes no gradient."""
    images = images.detach().requires_grad_()
    logits = _logits(model, images.clone())
    if not logits.requires_grad:
        return logits.double(), images.new_zeros(len(images), logits.shape[1], images[0].numel())
    rows = [
        torch.autograd.grad(logits[:, k].sum(), images, retain_graph=True, materialize_grads=True)[0].flatten(1)
        for k in range(logits.shape[1])
    ]
    return logits.detach().double(), torch.stack(rows, 1)


def _differences(jacobian: Tensor, winners: Tensor) -> Iterator[Tensor]:
    """For each class, the gradient of the winner's logit minus that class's: ``(N, D)``."""
    best = jacobian[torch.arange(len(jacobian), device=jacobian.device), winners]
    for k in range(jacobian.shape[1]):
        yield best - jacobian[:, k]


def _leading(model: nn.Module, images: Tensor, norm: str) -> Part:
    images = images.detach().requires_grad_()
    logits = _logits(model, images.clone())
    two = logits.topk(2, dim=1).values
    difference = two[:, 0] - two[:, 1]
    if difference.requires_grad:
        (gradient,) = torch.autograd.grad(difference.sum(), images, materialize_grads=True)
    else:
        gradient = torch.zeros_like(images)
    slope = dual_norm(gradient.flatten(1), norm)
    margin = _quotient(difference.detach().double(), slope)
    return logits.detach().double(), margin, torch.full_like(margin, torch.nan), slope, None, None, None


def dual_norm(rows: Tensor, norm: str) -> Tensor:
    """The norm dual to ``norm`` of each row ``(N, D)``, in float64: L1 for Linf, L2 for L2."""
    return rows.double().abs().sum(1) if norm == "Linf" else rows.double().norm(dim=1)


def _quotient(difference: Tensor, slopes: Tensor) -> Tensor:
    usable = torch.isfinite(difference) & torch.isfinite(slopes) & (slopes > 0)
    return torch.where(usable, difference / torch.where(usable, slopes, 1.0), torch.nan)


def correlations(gram: Tensor) -> Tensor:
    """Cosine similarities of each Gram matrix ``(N, K, K)``; NaN where a row of J is zero or not finite."""
    sizes = gram.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
    largest = sizes.amax(1, keepdim=True)
    sizes = torch.where((sizes > 1e-7 * largest) & torch.isfinite(sizes), sizes, torch.nan)
    return (gram / (sizes[:, :, None] * sizes[:, None, :])).clamp(-1, 1)
