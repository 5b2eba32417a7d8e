"""Training with interval bounds (Gowal et al., 2018), for the demo model that is certified nearly as far as attacked.

The loss is ``kappa`` times the cross-entropy of the clean logits plus ``1 - kappa`` times the cross-entropy of the
worst logits that interval arithmetic allows within the ball of radius eps. Both ``eps`` and ``1 - kappa`` grow from 0
to their final values while the schedule ramps up.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.zoo.demo.networks import Normalize


@dataclass(frozen=True, kw_only=True)
class IntervalRecipe:
    """Everything that determines a training run with interval bounds, except the network and the data.

    Attributes:
        eps: the radius of the Linf ball at the end of the ramp, in [0, 1] pixels.
        kappa: the weight of the clean cross-entropy at the end of the ramp; 1 before it.
        warmup_epochs: epochs of ordinary training before the ramp.
        ramp_epochs: epochs in which eps and the weight of the bounds grow linearly.
        max_lr: the learning rate of Adam until the ramp ends; then it falls to 0 along a half cosine.
        clip: the largest norm of a gradient.
    """

    method: str = "ibp"
    norm: str = "Linf"
    eps: float = 0.1
    kappa: float = 0.5
    epochs: int = 24
    warmup_epochs: int = 1
    ramp_epochs: int = 11
    batch_size: int = 128
    max_lr: float = 1e-3
    clip: float = 10.0
    seed: int = 0

    @property
    def steps(self) -> int:
        """How many further passes a step costs, in units of one: the bounds need two."""
        return 2

    def ramp(self, epoch: float) -> float:
        """The position in the ramp, 0 to 1, after a number of epochs."""
        return min(max((epoch - self.warmup_epochs) / self.ramp_epochs, 0.0), 1.0)

    def learning_rate(self, epoch: float) -> float:
        """The learning rate after a number of epochs."""
        end = self.warmup_epochs + self.ramp_epochs
        left = min(max((epoch - end) / (self.epochs - end), 0.0), 1.0)
        return self.max_lr * 0.5 * (1 + float(torch.cos(torch.tensor(left * torch.pi))))


def interval_margins(network: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Lower bounds ``(N, K)`` of ``logit_y - logit_j`` over the Linf ball of radius ``eps`` within [0, 1]; 0 at j = y.

    The last fully connected layer is folded into the margins. This is training code: it rounds as float32 does, and
    certificates come from :mod:`auditor.certify`.

    Args:
        network: a chain of ``Normalize``, convolutions, fully connected layers, ReLU and Flatten, which ends with a
            fully connected layer.
        x: images ``(N, C, H, W)`` in [0, 1].
        y: labels ``(N,)``.
    """
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    centre, radius = (low + high) / 2, (high - low) / 2
    *layers, last = (layer for layer in network.modules() if not list(layer.children()))
    for layer in layers:
        if isinstance(layer, Normalize):
            centre, radius = layer(centre), radius / layer.std
        elif isinstance(layer, nn.Conv2d):
            centre = layer(centre)
            radius = F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
        elif isinstance(layer, nn.Linear):
            centre, radius = layer(centre), F.linear(radius, layer.weight.abs())
        elif isinstance(layer, nn.ReLU):
            low, high = F.relu(centre - radius), F.relu(centre + radius)
            centre, radius = (low + high) / 2, (high - low) / 2
        else:
            centre, radius = layer(centre), layer(radius)
    assert isinstance(last, nn.Linear)
    rows = last.weight[y].unsqueeze(1) - last.weight.unsqueeze(0)  # (N, K, d)
    offsets = last.bias[y].unsqueeze(1) - last.bias.unsqueeze(0)
    return torch.einsum("nkd,nd->nk", rows, centre) - torch.einsum("nkd,nd->nk", rows.abs(), radius) + offsets


def train_with_intervals(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: IntervalRecipe,
    on_epoch: Callable[[int, float, float], None],
) -> None:
    """Run all epochs of a recipe in place; leaves the network in eval mode.

    Args:
        images: ``(N, C, H, W)``, float in [0, 1].
        labels: ``(N,)`` int64.
        on_epoch: called after each epoch with its number from 1, the mean loss, and its seconds.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.max_lr)
    size = recipe.batch_size
    batches = len(images) // size
    for number in range(recipe.epochs):
        started, total = time.perf_counter(), 0.0
        for step, chosen in enumerate(torch.split(torch.randperm(len(images))[: batches * size], size)):
            x, y = images[chosen], labels[chosen]
            reached = number + step / batches
            ramp = recipe.ramp(reached)
            share = ramp * (1 - recipe.kappa)
            loss = (1 - share) * F.cross_entropy(network(x), y)
            if ramp:
                loss = loss + share * F.cross_entropy(-interval_margins(network, x, y, ramp * recipe.eps), y)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate(reached)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            total += loss.item()
        on_epoch(number + 1, total / batches, time.perf_counter() - started)
    network.eval()
