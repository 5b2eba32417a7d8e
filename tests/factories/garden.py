"""A local zoo that is fine-tuned in seconds: four classes of 8 x 8 images, a tiny network, its data."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

CLASSES, SUPERCLASSES = ("oak", "elm", "rose", "lily"), ("tree", "tree", "flower", "flower")
CODE = """\
import os
import time
from pathlib import Path

from torch import nn


class Watched(nn.Sequential):
    # Waits in its training steps for as long as the file is there, and says that it does.
    def forward(self, x):
        hold = os.environ.get("GARDEN_HOLD")
        if hold and self.training:
            Path(hold + ".seen").write_text(str(os.getpid()))
            while Path(hold).exists():
                time.sleep(0.02)
        return super().forward(x)


def net():
    return Watched(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
"""
TOML = """\
[[models]]
name = "plant"
weights = "plant.safetensors"
norm = "Linf"
eps = 0.1
mean = "none"
std = "none"
architecture = { python = "nets.py:net" }
[models.dataset]
name = "garden"
path = "test.npz"
classes = ["oak", "elm", "rose", "lily"]
input_size = [1, 8, 8]
superclasses = SUPERS
"""
SUPERS = '{ tree = ["oak", "elm"], flower = ["rose", "lily"] }'


def images(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes ``(N, 8, 8, 1)``: each class has one bright quarter, plus noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pixels = generator.integers(0, 120, (count, 8, 8, 1))
    for label in range(4):
        row, column = 4 * (label // 2), 4 * (label % 2)
        pixels[labels == label, row : row + 4, column : column + 4] += 100
    return pixels.astype(np.uint8), labels


def make(folder: Path, *, supers: str = SUPERS, train: int = 240, test: int = 80) -> Path:
    """The zoo's folder; its training images are in ``train.npz``."""
    folder.mkdir(parents=True)
    (folder / "nets.py").write_text(CODE)
    (folder / "zoo.toml").write_text(TOML.replace("SUPERS", supers))
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = scope["net"]()
    save_file(network.state_dict(), folder / "plant.safetensors")
    for name, seed, count in (("train", 1, train), ("test", 2, test)):
        pixels, labels = images(seed, count)
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)
    return folder


def boost(zoo: Path, *options: object) -> list[str]:
    """The words of ``auditor boost`` on this zoo, quick enough for a test."""
    words = ["boost", "local:plant", "--zoo", zoo, "--trust-code", "--data", zoo / "train.npz", "--epochs", 3]
    words += ["--steps", 2, "--batch-size", 16, "--lr", 0.05, "--protocol", "quick", "--samples", 60, *options]
    return [os.fspath(word) if isinstance(word, Path) else str(word) for word in words]
