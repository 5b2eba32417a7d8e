"""Make a local zoo of a network with a defence that has no gradient: it rounds pixels to 17 grey levels.

    python examples/own_attacks/make_quantised_zoo.py quantised
    auditor scan local quantised --trust-code

The weights are those of demo:standard, which was trained without any defence. straight_through.py breaks it.
"""

import shutil
import sys
from pathlib import Path

from auditor.zoo.demo import WEIGHTS

ZOO = """\
[[models]]
name = "quantised"
description = "demo:standard behind a rounding of its pixels"
weights = "quantised.safetensors"
architecture = { python = "networks.py:make" }
dataset = "fashion_mnist"
norm = "Linf"
eps = 0.1
mean = "none"
std = "none"
"""
NETWORKS = '''\
"""A network that rounds its pixels, as a lossy compression does."""

import torch
from torch import Tensor, nn

from auditor.zoo.demo.networks import SmallResNet


class Quantise(nn.Module):
    """Round pixels in [0, 1] to 17 levels. The gradient of a rounding is 0."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.round(images * 16) / 16


class Quantised(SmallResNet):
    """The network behind the rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.quantise = Quantise()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.quantise(images))


def make() -> nn.Module:
    return Quantised()
'''


def make_zoo(folder: Path) -> None:
    """Write the folder: zoo.toml, networks.py, and the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zoo.toml").write_text(ZOO)
    (folder / "networks.py").write_text(NETWORKS)
    shutil.copy(WEIGHTS / "standard.safetensors", folder / "quantised.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make_zoo(Path(sys.argv[1]))
