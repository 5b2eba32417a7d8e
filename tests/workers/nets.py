"""A zoo's own code: tiny networks, some of which misbehave while they are loaded. Copied into the zoo by the tests."""

import logging
import os
import time
from pathlib import Path

import torch
from torch import nn


def tiny() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def gated(name: str) -> nn.Module:
    """Says that it is being loaded, and by which process, and waits until it may be."""
    here = Path(__file__).parent
    (here / f"{name}.loading").write_text(str(os.getpid()))
    while not (here / f"{name}.go").exists():
        time.sleep(0.05)
    return tiny()


class Slow(nn.Module):
    """Takes its time for each pass, so that attacks take as long as a test likes."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.net, self.seconds = tiny(), seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return self.net(x)


def slow(seconds: float) -> nn.Module:
    return Slow(seconds)


def hanging() -> nn.Module:
    time.sleep(3600)
    return tiny()


def hungry() -> nn.Module:
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.01)


def killed() -> nn.Module:
    """As the kernel does it when memory runs out."""
    os.kill(os.getpid(), 9)
    return tiny()


def telling() -> nn.Module:
    logging.getLogger("zoo").error("told by a model")
    return tiny()
