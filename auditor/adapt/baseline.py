"""The baseline on raw pixels: the nearest mean of the target images, written as a linear classifier."""

import torch
from torch import Tensor, nn

from auditor.adapt.tuning import class_centres
from auditor.boost.training import pixels_of


def nearest_mean(images: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """The classifier that picks the nearest of the class means, in Euclidean distance of pixels.

    ``|x - m_k|^2`` is smallest where ``m_k x - |m_k|^2 / 2`` is largest: a linear network, attacked like any other.

    Args:
        images: ``(N, C, H, W)`` in [0, 1] or uint8, at least one of each class.
        labels: ``(N,)`` int64 from 0 to classes - 1.

    Returns:
        A network, ``(N, C, H, W)`` to ``(N, classes)``, in eval mode.

    Raises:
        InputError: a class has no image.
    """
    means = class_centres(pixels_of(images).flatten(1).double(), labels, classes)
    layer = nn.Linear(means.shape[1], classes, device=means.device)
    with torch.no_grad():
        layer.weight.copy_(means)
        layer.bias.copy_(-(means**2).sum(1) / 2)
    return nn.Sequential(nn.Flatten(), layer).eval()
