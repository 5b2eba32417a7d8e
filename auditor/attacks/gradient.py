"""FGSM, PGD and CW-Linf as one projected gradient ascent.

The project has its own because the field's libraries draw a random start by batch. Here the caller passes the start,
drawn by sample index, so that a verdict does not depend on the batch that a sample is in. Tests compare with foolbox.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.norms import Norm
from auditor.torch_state import plain_tensor
from auditor.user_code.exceptions import raise_as_input_errors

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


LOSSES: dict[str, Callable[[Tensor], Loss]] = {"ce": cross_entropy, "margin": margin}
"""By the name that an attack's parameters have for it."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Inside: eval mode and parameters without gradients. Afterwards modes, flags and buffers are restored."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with raise_as_input_errors("eval() of the model"):
        model.eval()  # a model's own eval() may return nothing
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
    """The gradient of each sample's loss at its pixels, ``(N, C, H, W)``, and the logits ``(N, K)``.

    The gradient is 0 where the model passes none. The grad modes of the caller and the model have no effect. The model
    gets a copy of the images, because it may work in place.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = plain_tensor(images.detach()).requires_grad_()
        logits = model(images.clone())
    if not logits.requires_grad:
        return torch.zeros_like(images), plain_tensor(logits)
    with torch.enable_grad():  # the model may have changed the grad mode
        value = loss(logits).sum()
    with raise_as_input_errors("a backward pass of the model"):
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
    targets: Tensor | None = None,
    together: bool = False,
) -> Tensor:
    """Projected gradient ascent (Madry et al., 2018); one step of size ``eps`` without a start is FGSM.

    Args:
        model: in eval mode, parameters without gradients (see :func:`frozen`).
        images: ``(N, C, H, W)`` in [0, 1].
        loss: what to maximise, per sample.
        norm, eps: the ball that the points stay in.
        steps, step_size: the number of steps, and their size in the norm.
        start: a perturbation ``(N, C, H, W)`` to start from; the clean image without it.
        labels: ``(N,)``; with them a sample stays at the first point where it is misclassified, and later passes leave
            it out.
        targets: ``(N,)``, in place of labels; a sample stays at the first point that the model assigns to its target.
        together: with labels or targets, keep all samples in every pass, because the model's logits may depend on the
            batch.

    Returns:
        Images ``(N, C, H, W)`` in the ball and in [0, 1].

    Example:
        >>> from auditor.attacks.norms import LINF
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        >>> images, labels = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
        >>> with frozen(model):
        ...     found = pgd(model, images, cross_entropy(labels), norm=LINF, eps=0.1, steps=5, step_size=0.05)
        >>> bool(LINF.within_budget(found, images, 0.1).all())
        True
    """
    points = images if start is None else norm.project(images + start, images, eps)
    classes = labels if targets is None else targets
    if classes is None:
        for _ in range(steps):
            gradient, _ = input_gradient(model, points, loss)
            points = norm.project(points + step_size * norm.normalize(gradient), images, eps)
        return points.detach()
    moving = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        before = points[moving]
        gradient, logits = input_gradient(model, before, _restrict(loss, moving, len(images)))
        moved = norm.project(before + step_size * norm.normalize(gradient), images[moving], eps)
        unbroken = (logits.argmax(1) == classes[moving]) ^ (targets is not None)
        points = points.index_copy(0, moving[unbroken], moved[unbroken])
        moving = moving if together else moving[unbroken]
        if not len(moving):
            break
    return points.detach()


def _restrict(loss: Loss, chosen: Tensor, count: int) -> Loss:
    """A loss of all ``count`` samples as a loss of the chosen ones, from their logits alone."""
    if len(chosen) == count:
        return loss
    return lambda logits: loss(logits.new_zeros(count, logits.shape[1]).index_copy(0, chosen, logits))[chosen]
