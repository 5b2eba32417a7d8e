"""A loss on the correlation matrix C of the linearized network, differentiable in the network's parameters."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from auditor.errors import LinearizationError
from auditor.linear.affinity import relative_error
from auditor.linear.history import LEARNING, note
from auditor.linear.linearize import sample_of
from auditor.linear.mode import BatchNorm, LinearMode
from auditor.linear.precision import MODEL
from auditor.linear.weight import implicit_weight

DISAGREEMENT = 0.02
"""The largest accepted relative error of W against forward passes with the training parameters, in float32."""


def correlation_loss(
    model: nn.Module,
    input_size: tuple[int, int, int],
    loss: Callable[[Tensor], Tensor],
    *,
    batch_norm: BatchNorm = "remove",
) -> Tensor:
    """``loss(C)``, a scalar whose gradient reaches the model's parameters.

    No second derivative is needed. With ``V`` the gradient of the loss at W, held fixed, the gradient in the parameters
    is that of ``<V, W>``; and as ``f_lin(v) - f_lin(0) = W v``, that is ``sum_k (f_lin(v_k) - f_lin(0))_k``: W costs
    one forward pass and K rows of backward, this another forward and backward pass over K + 1 images.

    Args:
        model: a classifier, ``(N, C, H, W)`` to logits ``(N, K)``; its mode is restored.
        input_size: ``(C, H, W)``.
        loss: of C, ``(K, K)``, cosine similarities of the class templates.

    Raises:
        LinearizationError: as :func:`auditor.linear.implicit_weight`; or forward passes disagree with W.
    """
    weight = implicit_weight(model, input_size, batch_norm=batch_norm)
    templates = weight.flatten(1).requires_grad_()
    unit = nn.functional.normalize(templates, dim=1)
    value = loss(unit @ unit.T)
    (pull,) = torch.autograd.grad(value, templates)
    sample = sample_of(model)
    sizes = pull.norm(dim=1, keepdim=True).clamp_min(1e-30)
    points = torch.cat([pull / sizes, torch.zeros_like(pull[:1])]).to(sample.dtype)
    logits = _run(model, points.view(-1, *input_size), batch_norm)
    changes = logits[:-1] - logits[-1]
    predicted = (points[:-1] @ templates.detach().to(points).T).double()
    if relative_error(predicted - changes.detach().double(), predicted) > DISAGREEMENT:
        raise LinearizationError(
            "W does not follow the parameters: a path of the network is hidden from their gradient"
        )
    bridge = (changes.diagonal() * sizes.squeeze(1).to(changes)).sum()
    result: Tensor = value.detach().to(bridge) + (bridge - bridge.detach())
    return result


def _run(model: nn.Module, images: Tensor, batch_norm: BatchNorm) -> Tensor:
    """The linearized network itself, not a copy, so that gradients reach its parameters; logits ``(N, K)``."""
    modes = [(module, module.training) for module in model.modules()]
    tokens = LEARNING.set(True), MODEL.set(sample_of(model).dtype)
    try:
        model.eval()
        leaf = images.detach().requires_grad_()
        dependent = note(leaf.clone(), from_input=True)
        with torch.enable_grad(), LinearMode(batch_norm):
            logits: Tensor = model(dependent)
        return logits
    finally:
        LEARNING.reset(tokens[0])
        MODEL.reset(tokens[1])
        for module, training in modes:
            module.training = training
