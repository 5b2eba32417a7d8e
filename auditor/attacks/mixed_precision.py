"""Mixed precision: large products in bfloat16 lead the search, and float32 confirms what it breaks."""

import torch
from torch import Tensor, nn

from auditor.attacks.protocols import MIXED_PRECISION


class MixedPrecision(nn.Module):
    """The same network under torch's autocast, on its own device; logits are float32 or float64.

    Its logits and gradients are rounded to three digits, so it may lead an attack but not judge it.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        >>> images = torch.rand(2, 1, 4, 4)
        >>> logits = MixedPrecision(network)(images)
        >>> logits.dtype, bool(torch.allclose(logits, network(images), atol=0.05))
        (torch.float32, True)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, getattr(torch, MIXED_PRECISION)):
            logits: Tensor = self.network(images)
        return logits if logits.dtype == torch.float64 else logits.float()


def confirm_wrong(model: nn.Module, points: Tensor, labels: Tensor, candidates: Tensor) -> Tensor:
    """``(N,)`` bool: which of the candidates, ``(N,)`` bool, the model in float32 misclassifies."""
    chosen = candidates.nonzero().flatten()
    if not len(chosen):
        return candidates
    with torch.no_grad():
        logits = model(points[chosen].clone())  # the model may work in place
    return candidates.index_copy(0, chosen, logits.argmax(1) != labels[chosen])
