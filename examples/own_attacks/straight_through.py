"""BPDA (Athalye, Carlini and Wagner, 2018) on a defence that rounds pixels: no gradient passes a rounding.

    python examples/own_attacks/make_quantised_zoo.py quantised
    auditor scan local quantised --trust-code
    auditor scan local quantised --attack examples/own_attacks/straight_through.py:straight_through --trust-code

The backward pass takes the rounding for the identity, which it nearly is. The attack changes a copy of the model.
"""

import copy

import torch
from rescaled import rescaled
from torch import Tensor, nn


class StraightThrough(nn.Module):
    """The defence in the forward pass, the identity in the backward pass."""

    def __init__(self, defence: nn.Module) -> None:
        super().__init__()
        self.defence = defence

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            change = self.defence(images) - images
        return images + change


def straight_through(model: nn.Module, images: Tensor, labels: Tensor, *, norm: str, eps: float, seed: int) -> Tensor:
    """The other example's attack, on a copy of the model through whose defence gradients pass."""
    surrogate = copy.deepcopy(model)
    for parent in list(surrogate.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "Quantise":
                setattr(parent, name, StraightThrough(child))
    return rescaled(surrogate, images, labels, norm=norm, eps=eps, seed=seed)
