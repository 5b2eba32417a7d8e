"""PDPGD (Matyasko and Chau, 2021): the smallest perturbation in L1, by primal-dual proximal gradient descent with Adam.

On ten images of a demo model its perturbations had 0.59 of the mean size of those of FAB and the ascents together. It
is auditor's own, because adv-lib, which has it, needs visdom, whose build fails with today's setuptools; the settings
are adv-lib's. Nothing is drawn, so the batch makes no difference.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import Loss, input_gradient, margin
from auditor.attacks.norms import L1

PRIMAL, PRIMAL_DECREASE = 0.1, 0.01
"""The step size of the pixels, and the share of it that is left at the end."""
DUAL, DUAL_DECREASE, DUAL_AVERAGE = 0.1, 0.1, 0.9
"""The same of the weight of the loss, and the memory of its moving average."""
FIRST_RATIO, LEAST_RATIO = 0.01, 1e-6
"""The weight of the size over that of the loss: at first, and at least; at most the inverse of the last."""
MEAN, SQUARE, TINY = 0.9, 0.999, 1e-8
"""Adam's decay rates, and what is added to the root."""
INNER = 5
"""Proximal steps of a step, because each pixel has a step size of its own."""


def minimize_l1(
    network: nn.Module, images: Tensor, labels: Tensor, iterations: int, away: Loss | None = None
) -> Tensor:
    """The misclassified points ``(N, C, H, W)`` nearest in L1 that the descent comes through; else the images.

    A step makes the logits more wrong and the change smaller. How much each counts is the dual variable: the loss gains
    weight while the point is classified correctly, and loses weight while it is not.

    Args:
        network: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        iterations: gradients per sample, 2 or more.
        away: what grows towards the boundary and is 0 on it; the margin by default.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).requires_grad_(False)
        >>> _ = network[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        >>> image = torch.tensor([[[[0.8, 0.3]]]])  # the second pixel has to reach half of the first
        >>> found = minimize_l1(network, image, torch.tensor([0]), 300)
        >>> 0.1 < float((found - image).abs().sum()) < 0.102
        True
    """
    away = away or margin(labels)
    change, mean, square = (torch.zeros_like(images) for _ in range(3))
    weight = images.new_full((len(images),), -math.log(FIRST_RATIO))
    most = -math.log(LEAST_RATIO)
    share = weight.sigmoid()
    nearest, best = images.clone(), images.new_full((len(images),), torch.inf)
    for step in range(iterations):
        points = images + change
        gradient, logits = input_gradient(network, points, lambda z: F.softplus(-away(z)))
        lead, size = away(logits), L1.size(change).flatten()
        nearer = (logits.argmax(1) != labels) & (size < best)
        best = torch.where(nearer, size, best)
        nearest = torch.where(_per_image(nearer), points, nearest)
        mean = MEAN * mean + (1 - MEAN) * gradient
        square = SQUARE * square + (1 - SQUARE) * gradient**2
        scale = (square / (1 - SQUARE ** (step + 1))).sqrt() + TINY
        length = PRIMAL * PRIMAL_DECREASE ** (step / iterations)
        moved = _into_box(change - length * mean / (1 - MEAN ** (step + 1)) / scale, images)
        change = _shrink(moved, scale, length * (1 - share) / share, images)
        rate = DUAL * (1 - (1 - DUAL_DECREASE) * step / (iterations - 1))
        weight = (weight - rate * lead.sign()).clamp(-most, most)
        share = DUAL_AVERAGE * share + (1 - DUAL_AVERAGE) * weight.sigmoid()
    return nearest


def _shrink(moved: Tensor, scale: Tensor, amount: Tensor, images: Tensor) -> Tensor:
    """The proximal step of the L1 norm, in the metric of Adam's ``scale`` and in the box; ``amount (N,)``."""
    largest = scale.flatten(1).amax(1)
    threshold, metric = _per_image(amount / largest), scale / _per_image(largest)
    change = moved
    for _ in range(INNER):
        ahead = change - metric * (change - moved)
        change = _into_box(ahead.sign() * (ahead.abs() - threshold).clamp_min(0), images)
    return change


def _into_box(change: Tensor, images: Tensor) -> Tensor:
    return (images + change).clamp(0, 1) - images


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
