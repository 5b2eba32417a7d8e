"""Adversarial weight perturbation (Wu, Xia, Wang, NeurIPS 2020): gradients at the worst nearby weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def perturbed_backward(model: nn.Module, loss: Callable[[], Tensor], size: float) -> Tensor:
    """Compute gradients of ``loss`` at weights moved uphill by ``size`` times their norm, and restore the weights.

    Moves weights of two dimensions or more along their gradients, as the paper's code does. Uses the gradient at the
    weights themselves instead of the paper's proxy model.

    Returns:
        The loss at the moved weights, detached.
    """
    weights: list[Tensor] = [weight for weight in model.parameters() if weight.ndim > 1 and weight.requires_grad]
    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    moves = [
        torch.zeros_like(weight)
        if gradient is None
        else gradient * (size * weight.norm() / gradient.norm().clamp_min(1e-12))
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    with torch.no_grad():
        torch._foreach_add_(weights, moves)
    try:
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
    finally:
        with torch.no_grad():
            torch._foreach_sub_(weights, moves)
    return value.detach()
