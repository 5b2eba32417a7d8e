"""Tiny classifiers: with known robustness, or with one fault."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """``z = W x + b``: the robust accuracy of a linear classifier has a closed form."""

    def __init__(self, classes: int, shape: tuple[int, int, int] = (1, 6, 6), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.Size(shape).numel()
        self.weight = nn.Parameter(torch.randn(classes, pixels, generator=generator))
        self.bias = nn.Parameter(-0.5 * self.weight.sum(1).detach())  # all logits are 0 at grey 0.5

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


def distances(model: Linear, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """The exact distance of each image to the decision boundary, ``(N,)``, without the limits of the pixel range."""
    with torch.no_grad():
        logits = model(images)
        margins = logits.gather(1, labels[:, None]) - logits
        differences = model.weight[labels][:, None] - model.weight[None]
        sizes = differences.abs().sum(2) if norm == "Linf" else differences.norm(dim=2)
        reach = margins / sizes.clamp_min(1e-12)
        reach[torch.arange(len(labels)), labels] = torch.inf
        return reach.amin(1)


class Wrapped(nn.Module):
    """A linear classifier with one fault."""

    def __init__(self, fault: str, classes: int = 5) -> None:
        super().__init__()
        self.inner, self.fault = Linear(classes), fault
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.fault == "quantized":  # gradients of 0 everywhere, as rounding gives
            x = (x * 16).round() / 16
        if self.fault == "detached":
            x = x.detach()
        if self.fault == "in place":
            with torch.no_grad():
                x.sub_(0.5)
        if self.fault == "in place":
            x = x + 0.5
        if self.fault == "counting":
            self.calls += 1
        logits = self.inner(x)
        if self.fault == "saturated":
            return 1000 * logits
        if self.fault == "softmax":
            return logits.softmax(1)
        if self.fault == "random":
            return logits + 0.1 * torch.randn_like(logits)
        if self.fault == "offset":
            return logits + 0.1 * torch.randn_like(logits) + 1e4
        if self.fault == "nan":
            return logits * torch.nan
        return logits


class Threshold(nn.Module):
    """Slight slopes on some pixels, and a steep one on pixel 20 that begins at the value 0.4."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        rise = 0.5 * pixels[:, :8].sum(1) + 10 * (pixels[:, 20] - 0.4).relu()
        return torch.stack([torch.full_like(rise, 1.8), rise], 1)


class OutOfMemory(nn.Module):
    """Runs out of memory on batches above ``limit``."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.inner, self.limit = Linear(5), limit

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("no memory left")
        return self.inner(x)


class LessMemoryLater(OutOfMemory):
    """Runs out of memory on batches above ``limit`` after its first passes over more images, as beside others' work.

    ``last`` is what the network does to its logits.
    """

    def __init__(self, limit: int, passes: int, last: Callable[[Tensor], Tensor] = lambda logits: logits) -> None:
        super().__init__(limit)
        self.passes, self.last = passes, last

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit and self.passes:
            self.passes -= 1
            return self.last(self.inner(x))
        return self.last(super().forward(x))
