"""Layers that cannot be linearized."""

import torch
from torch import Tensor, nn


class Refused(nn.Module):
    def __init__(self, last: object) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 3, 3), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x).mean((2, 3)))


@torch.no_grad()
def hidden(z: Tensor) -> Tensor:
    return 2 * z


def hooked(z: Tensor) -> Tensor:
    z.register_hook(lambda gradient: 2 * gradient)
    return z
