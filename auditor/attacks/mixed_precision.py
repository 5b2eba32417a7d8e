"""A network in mixed precision: large products in bfloat16, everything else and all results in float32."""

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
