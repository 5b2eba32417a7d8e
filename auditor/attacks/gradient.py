"""FGSM, PGD and CW-Linf as one projected gradient ascent.

Our own because the field's libraries draw a random start by batch: here the caller hands in the start, drawn by
sample index, so that a verdict does not depend on the batch that a sample happens to be in. Checked against
foolbox in the tests.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.classifier import told_as_input_errors
from auditor.attacks.norms import Norm
from auditor.torch_state import plain_tensor

Loss = Callable[[Tensor], Tensor]
"""What the attacker maximises: logits ``(N, K)`` to ``(N,)``."""


def cross_entropy(labels: Tensor) -> Loss:
    """The loss of FGSM (Goodfellow et al., 2015) and PGD (Madry et al., 2018)."""
    return lambda logits: F.cross_entropy(logits, labels, reduction="none")


def margin(labels: Tensor) -> Loss:
    """``max_{j != y} z_j - z_y``, the loss of Carlini and Wagner (2017); positive once the sample is broken."""

    def loss(logits: Tensor) -> Tensor:
        true = F.one_hot(labels, logits.shape[1]).bool()
        return logits.masked_fill(true, -torch.inf).amax(1) - logits[true]

    return loss


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Eval mode and parameters without gradients inside; modes, flags and buffers as they were afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with told_as_input_errors("eval() of the model"):
        model.eval()  # which may return nothing
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def input_gradient(model: nn.Module, images: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """The gradient of each sample's loss at its pixels, ``(N, C, H, W)``, and the logits ``(N, K)`` seen there.

    The gradient is 0 where the model passes none, whatever the caller's or the model's grad mode. The model sees a
    copy: it may work in place.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = plain_tensor(images.detach()).requires_grad_()
        logits = model(images.clone())
    if not logits.requires_grad:
        return torch.zeros_like(images), plain_tensor(logits)
    with torch.enable_grad():  # the model may have left another mode behind
        value = loss(logits).sum()
    with told_as_input_errors("a backward pass of the model"):
        (gradient,) = torch.autograd.grad(value, images, materialize_grads=True)
    return gradient, logits.detach()


def pgd(
    model: nn.Module,
    images: Tensor,
    loss: Loss,
    *,
    norm: Norm,
    eps: float,
    steps: int,
    step_size: float,
    start: Tensor | None = None,
    labels: Tensor | None = None,
    together: bool = False,
) -> Tensor:
    """Projected gradient ascent (Madry et al., 2018); one step of size ``eps`` without a start is FGSM.

    Args:
        model: in eval mode, parameters without gradients (see :func:`frozen`).
        images: ``(N, C, H, W)`` in [0, 1].
        loss: what to maximise, per sample.
        norm: ``NORMS["Linf"]`` or ``NORMS["L2"]``.
        start: a perturbation ``(N, C, H, W)`` to start from; the clean image without it.
        labels: ``(N,)``; with them a sample stays at the first point where it is misclassified, and is not looked at
            again.
        together: with labels, look at all samples in every step all the same: where a model's answer depends on the
            batch, this is the batch.

    Returns:
        Images ``(N, C, H, W)`` in the ball and in [0, 1].
    """
    points = images if start is None else norm.project(images + start, images, eps)
    if labels is None:
        for _ in range(steps):
            gradient, _ = input_gradient(model, points, loss)
            points = norm.project(points + step_size * norm.normalize(gradient), images, eps)
        return points.detach()
    moving = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        here = points[moving]
        gradient, logits = input_gradient(model, here, _of_some(loss, moving, len(images)))
        moved = norm.project(here + step_size * norm.normalize(gradient), images[moving], eps)
        standing = logits.argmax(1) == labels[moving]
        points = points.index_copy(0, moving[standing], moved[standing])
        moving = moving if together else moving[standing]
        if not len(moving):
            break
    return points.detach()


def _of_some(loss: Loss, chosen: Tensor, count: int) -> Loss:
    """The loss of all ``count`` samples where there are logits of the chosen ones alone, whose losses it gives."""
    if len(chosen) == count:
        return loss
    return lambda logits: loss(logits.new_zeros(count, logits.shape[1]).index_copy(0, chosen, logits))[chosen]
