"""First-order margins at test images, beside what attacks found on the same images."""

import math

import torch
from torch import Tensor, nn

from auditor.records.screening import Screening
from auditor.screening.local import local_maps
from auditor.torch_state import default_modes

FAR_APART = 4.5
"""Margins at probes over those at test images; of the study zoo's honest models none is above 4.4."""
IMAGES = 64
"""Correctly classified images whose margins are measured."""
LEAST_IMAGES = 20
CONTRADICTION = 0.3
"""Honest models of the study zoo stay below 0.2; docs/screening.md has the figures."""


@default_modes()
def margins_at(model: nn.Module, images: Tensor, norm: str) -> Tensor:
    """First-order distances ``(N,)`` to the nearest class boundary, or to the runner-up's above 100 classes.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        norm: ``Linf`` or ``L2``; the distances are lengths in it. NaN where the gradient is zero or not finite.
    """
    if not len(images):
        return torch.empty(0, dtype=torch.float64)
    maps = local_maps(model, images, norm)
    return maps.two_class if maps.gram is None else maps.all_class


def probe_notes(screening: Screening) -> list[str]:
    """A note where margins at probe images are far above those at test images: the score says nothing then.

    A model that is trained to have large margins at random images looks so, and few others do.
    """
    ratio = screening.margin / screening.data_margin if screening.data_margin > 0 else math.nan
    if not ratio >= FAR_APART:
        return []
    return [f"screen: margins at probe images are {ratio:.1f} times those at test images, so its score says nothing"]


def masking_finding(margins: Tensor, survived: Tensor, eps: float) -> tuple[list[str], list[str]]:
    """``possible_masking``, with a note: attacks break far fewer images than have their nearest boundary within eps.

    A smooth network that is robust at an image has a margin above eps there, or hardly below. Where many images with
    small margins withstand all attacks, the gradients that the attacks followed may lead nowhere.

    Args:
        margins: ``(N,)``, of :func:`margins_at`.
        survived: ``(N,)`` bool, whether the attacks left each image unbroken.
        eps: the radius of the attacks.
    """
    known = torch.isfinite(margins)
    count = int(known.sum())
    if count < LEAST_IMAGES:
        return [], []
    within = int((margins[known] <= eps).sum())
    broken = count - int(survived.to(margins.device)[known].sum())
    if within - broken < CONTRADICTION * count:
        return [], []
    note = (
        f"attacks break {broken} of {count} images, of which {within} have a class boundary within eps to first order"
    )
    return ["possible_masking"], [note]
