"""APGD (Croce and Hein, 2020): projected gradient ascent with momentum whose step size adapts to each sample.

auditor's own, for two reasons. pyautoattack draws random starts by batch; here the caller passes the start, drawn by
sample. And a broken sample leaves the batch at once, so that restarts cost only what is still unbroken.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import Loss, input_gradient
from auditor.attacks.mixed_precision import confirm_wrong
from auditor.attacks.norms import Norm, Radius

APPROACH_STEPS = 6
"""Gradients in each of the wider balls through which an ascent approaches its own."""
MOMENTUM = 0.75
IMPROVING = 0.75
"""The step size is halved if the loss grew in fewer than this share of the steps since the last check."""


@dataclass(frozen=True)
class Ascent:
    """Where an ascent ended: points ``(N, C, H, W)``, and whether each is misclassified, ``(N,)`` bool.

    A broken sample's point is the first misclassified one; another's is the one with the highest loss.
    """

    points: Tensor
    broken: Tensor


def ascend(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor], Loss],
    *,
    norm: Norm,
    eps: Radius,
    iterations: int,
    start: Tensor,
    together: bool = False,
    confirm: nn.Module | None = None,
) -> Ascent:
    """Maximise a loss in the ball and the box; ``iterations`` gradients per sample at most.

    Args:
        model: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        loss_of: maps positions ``(M,)`` to the loss of these samples' logits.
        norm, eps: the ball, or with ``eps (N, 1, 1, 1)`` a ball for each sample.
        iterations: the number of gradients, 1 or more.
        start: points ``(N, C, H, W)`` in the ball and the box.
        together: keep all samples in every pass, because the model's logits may depend on the batch.
        confirm: decides what is misclassified in place of ``model``, which is the same function in mixed precision.
    """
    count, everything = len(images), torch.arange(len(images), device=images.device)
    points, before = start.clone(), start.clone()
    best, best_gradient = start.clone(), torch.zeros_like(images)
    lowest = images.new_full((count,), -math.inf)
    best_loss, last_loss, checked_loss = lowest, -lowest, lowest
    grown = images.new_zeros(count)
    radius = torch.as_tensor(eps, dtype=images.dtype, device=images.device).expand(count, 1, 1, 1)
    step = 2 * radius.flatten()
    just_halved = torch.ones(count, dtype=torch.bool, device=images.device)
    broken = torch.zeros_like(just_halved)
    checks = check_after(iterations)
    moving = everything
    for iteration in range(iterations):
        rows = everything if together else moving
        loss = loss_of(rows)
        gradient, logits = input_gradient(model, points[rows], loss)
        value = loss(logits)
        if together:
            gradient, logits, value = gradient[moving], logits[moving], value[moving]
        wrong = logits.argmax(1) != labels[moving]
        if confirm is not None:
            wrong = confirm_wrong(confirm, points[moving], labels[moving], wrong)
        better = (value > best_loss[moving]) | wrong
        best = best.index_copy(0, moving[better], points[moving[better]])
        best_gradient = best_gradient.index_copy(0, moving[better], gradient[better])
        best_loss = best_loss.index_copy(0, moving[better], value[better])
        grown = grown.index_add(0, moving, (value > last_loss[moving]).to(grown))
        last_loss = last_loss.index_copy(0, moving, value)
        broken = broken.index_fill(0, moving[wrong], True)
        moving, gradient = moving[~wrong], gradient[~wrong]
        if not len(moving) or iteration == iterations - 1:
            break
        now = points[moving]
        if (length := checks.get(iteration)) is not None:
            stalls = grown[moving] <= IMPROVING * length
            stalls |= ~just_halved[moving] & (best_loss[moving] <= checked_loss[moving])
            step = step.index_copy(0, moving, torch.where(stalls, step[moving] / 2, step[moving]))
            just_halved = just_halved.index_copy(0, moving, stalls)
            checked_loss, grown = best_loss, torch.zeros_like(grown)
            back = stalls.view(-1, 1, 1, 1)
            now = torch.where(back, best[moving], now)
            gradient = torch.where(back, best_gradient[moving], gradient)
        clean = images[moving]
        ahead = norm.project(now + step[moving].view(-1, 1, 1, 1) * norm.normalize(gradient), clean, radius[moving])
        if iteration > 0:
            mixed = now + MOMENTUM * (ahead - now) + (1 - MOMENTUM) * (now - before[moving])
            ahead = norm.project(mixed, clean, radius[moving])
        before = before.index_copy(0, moving, now)
        points = points.index_copy(0, moving, ahead)
    if confirm is not None:
        broken = broken | confirm_wrong(confirm, best, labels, ~broken)
    return Ascent(best.detach(), broken)


def approach(ascend_here: Callable[..., Ascent], images: Tensor, start: Tensor, *, norm: Norm, eps: Radius) -> Tensor:
    """Points in the ball to start from: where short ascents end in ever smaller balls, with the norm's ``radii``.

    An ascent in a wider ball ends at the first misclassified point, which is then drawn into the next ball. As APGD's
    for L1 (Croce and Hein, 2021), with more and wider balls. Without wider balls the points are ``start`` itself.

    Args:
        ascend_here: :func:`ascend` with all that is the same in each ball: model, images, labels, loss and norm.
        images, norm, eps: as in :func:`ascend`.
        start: points ``(N, C, H, W)`` in the widest ball and the box.
    """
    points = start
    for wide, narrower in pairwise(norm.radii):
        end = ascend_here(eps=wide * eps, iterations=APPROACH_STEPS, start=points)
        points = norm.project(end.points, images, narrower * eps)
    return points


def approach_gradients(norm: Norm) -> int:
    """How many gradients of a sample :func:`approach` takes at most; 0 in norms without wider balls."""
    return APPROACH_STEPS * (len(norm.radii) - 1)


def check_after(iterations: int) -> dict[int, int]:
    """After which iterations the step size is checked, and how many steps each check looks back on.

    The intervals are the paper's: 22 % of the iterations at first, each 3 points shorter, down to 6 %.
    """
    checks, length, at = {}, max(int(0.22 * iterations), 1), 0
    while at + length < iterations:
        at += length
        checks[at] = length
        length = max(length - max(int(0.03 * iterations), 1), max(int(0.06 * iterations), 1))
    return checks
