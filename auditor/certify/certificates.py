"""Certificates of a model on images: which samples no perturbation in the ball can break."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.certify.balls import Ball
from auditor.certify.bounds import contains, interval_bounds, margin_bounds
from auditor.certify.program import Program, trace
from auditor.certify.settings import NEURONS
from auditor.errors import BoundsError
from auditor.records.certificates import INTERVALS, LINES, NEITHER
from auditor.torch_state import default_modes


def certify_bounds(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    neurons: int = NEURONS,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Find the samples whose label no perturbation in the ball can change: a lower bound of the robust accuracy.

    A sample is certified if the logit of its label exceeds every other logit in all of the ball within [0, 1], for the
    logits as the model computes them in its own precision on one image. First come intervals; then, where these are
    not enough, lines (CROWN).

    Args:
        model: ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``, float32 or float64, in eval mode.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)`` integers.
        norm: ``Linf``, ``L2`` or ``L1``.
        eps: the radius of the ball, in units of the [0, 1] pixels.
        neurons: see :data:`auditor.certify.settings.NEURONS`.
        progress: called after each image with the number of images done, and of all.

    Returns:
        ``(N,)`` int64 on the CPU: 0 where nothing is certified, 1 where intervals certify the sample, 2 where lines do.

    Raises:
        BoundsError: an operation of the model has no bounds, and the message names it; or the model cannot be traced.
        InputError: there are no bounds for the norm.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
        >>> model[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> images = torch.tensor([[[[0.9, 0.1]]], [[[0.6, 0.5]]]])
        >>> certify_bounds(model, images, torch.tensor([0, 0]), norm="Linf", eps=0.1).tolist()
        [1, 0]
    """
    with default_modes(), frozen(model):
        program = trace(model, images[:1])
        verdicts = torch.zeros(len(images), dtype=torch.int64)
        with torch.no_grad():
            interval_bounds(program, Ball.around(images[:1], norm, eps))  # refuses arguments that have no bounds
            for place, (image, label) in enumerate(zip(torch.split(images, 1), labels.tolist(), strict=True)):
                verdicts[place] = _certify(model, program, image, label, norm, eps, neurons)
                if progress:
                    progress(place + 1, len(images))
    return verdicts


def _certify(model: nn.Module, program: Program, image: Tensor, label: int, norm: str, eps: float, neurons: int) -> int:
    logits = model(image.clone())
    if int(logits.argmax()) != label:
        return NEITHER
    ball = Ball.around(image, norm, eps)
    bounds = interval_bounds(program, ball)
    if not contains(bounds, [logits]):
        if all(bool(torch.isfinite(end).all()) for end in bounds.output):
            raise BoundsError("the network computes other logits than its traced operations: it cannot be bounded")
        return NEITHER
    if bool((margin_bounds(bounds, label, intervals=True) > 0).all()):
        return INTERVALS
    bounds = interval_bounds(program, ball, neurons)
    return LINES if bool((margin_bounds(bounds, label, intervals=False) > 0).all()) else NEITHER
