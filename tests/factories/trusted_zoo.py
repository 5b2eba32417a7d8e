"""A local zoo whose models are Python code."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from auditor.zoo.local import LocalZoo
from tests.factories.local_zoo import changed, zoo

CODE = """\
import sys
from torch import nn
import layers

print("hello")


def make(width=2):
    return nn.Sequential(layers.scale(), nn.Flatten(), nn.Linear(3 * 64, width), nn.Linear(width, 3))


def broken():
    return layers.broken()


def leave():
    sys.exit("enough")


def text():
    return "a network"
"""


LAYERS = """\
from torch import nn


def scale():
    return nn.Hardtanh(0, 1)


def broken():
    raise KeyError("no such layer")
"""


def network(width: int = 2) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return nn.Sequential(nn.Hardtanh(0, 1), nn.Flatten(), nn.Linear(192, width), nn.Linear(width, 3))


def trusted(folder: Path, code: str = CODE, **changes: str) -> LocalZoo:
    zoo(folder, changed(**changes), code)
    (folder / "layers.py").write_text(LAYERS)
    save_file(network().state_dict(), folder / "net.safetensors")
    return LocalZoo(folder, trust_code=True)
