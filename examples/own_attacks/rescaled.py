"""An adaptive attack on demo:saturated, whose large logits leave cross-entropy no gradient.

    auditor scan demo --model saturated --attack examples/own_attacks/rescaled.py:rescaled --trust-code

The network was trained at softmax temperature 100 and is deployed without it. In float32 its losses are exactly 0, and
so are their gradients. The margin of the logits, divided by their spread, has the same decisions and useful gradients.
"""

import torch
from torch import Tensor, nn

STEPS = 20


def rescaled(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    seed: int,  # noqa: ARG001  # it draws nothing
) -> Tensor:
    """PGD on the margin of rescaled logits, from the clean image."""
    with torch.no_grad():
        spread = model(images).std(dim=1, keepdim=True).clamp_min(1e-12)
    points = images
    for _ in range(STEPS):
        points = points.detach().requires_grad_()
        logits = model(points) / spread
        true = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((other - true).sum(), points)
        points = project(points.detach() + eps / 8 * direction(gradient, norm), images, norm, eps)
    return points


def direction(gradient: Tensor, norm: str) -> Tensor:
    """The steepest step of size 1 in the norm."""
    if norm == "Linf":
        return gradient.sign()
    return gradient / length(gradient).clamp_min(1e-12)


def project(points: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """The nearest points in the ball around the images, then in [0, 1]."""
    change = points - images
    if norm == "Linf":
        change = change.clamp(-eps, eps)
    else:
        change = change * (eps / length(change).clamp_min(1e-12)).clamp_max(1)
    return (images + change).clamp(0, 1)


def length(vectors: Tensor) -> Tensor:
    """The Euclidean length of each sample, ``(M, 1, 1, 1)``."""
    return vectors.flatten(1).norm(dim=1)[:, None, None, None]
