"""Models whose local linear maps have a closed form, or are smooth, and images for them."""

import torch
from torch import Tensor, nn

from auditor.screening.probes import probe_images

SIZE = (2, 6, 6)
SUPERCLASSES = ("a", "a", "b", "b", "c")


class Affine(nn.Module):
    """``W x + b``, both from a seed."""

    def __init__(self, seed: int = 0, classes: int = 5) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 72, generator=random, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(classes, generator=random, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Curved(nn.Module):
    """A small network that is smooth, in float64."""

    def __init__(self, scale: float = 1.0, shift: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.Tanh(), nn.Linear(16, 5)).double()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.body(x)
        return logits + 3 * x.flatten(1).sin().sum(1, keepdim=True) + 7 if self.shift else logits


def images(kind: str = "uniform", count: int = 9) -> Tensor:
    return probe_images(kind, count, SIZE, 1).double()
