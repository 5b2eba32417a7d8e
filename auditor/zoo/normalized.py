"""Normalization inside the model: attacks see [0, 1] pixels only."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """``model`` behind ``(x - mean) / std`` per channel: images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits


class NormalizedOutputs(Normalized):
    """The same for a ``model`` that returns an object with ``logits``, as those of transformers do.

    With ``flip`` the model gets BGR instead of RGB.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], *, flip: bool = False) -> None:
        super().__init__(model, mean, std)
        self.flip = flip

    def forward(self, images: Tensor) -> Tensor:
        inputs = (images - self.mean) / self.std
        logits: Tensor = self.model(inputs.flip(1) if self.flip else inputs).logits
        return logits


def normalized(model: nn.Module, preprocessing: Mapping[str, Any]) -> nn.Module:
    """The model behind the ``mean`` and ``std`` of an entry's preprocessing; the bare model if there is none."""
    return Normalized(model, preprocessing["mean"], preprocessing["std"]) if preprocessing else model


def inner_network(model: nn.Module) -> nn.Module:
    """The network without the normalization that auditor put before it; checkpoints hold its state dict."""
    inner: nn.Module = model.model if isinstance(model, Normalized) else model
    return inner
