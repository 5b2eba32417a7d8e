"""What benchmarks of the service make and throw away: a database, and a zoo of tiny models."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sqlalchemy import create_engine, text

from auditor.data.fashion_mnist import load_demo
from auditor.zoo.local import LocalZoo

NET = """
from torch import nn


def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""
MODEL = """
[[models]]
name = "tiny-{number}"
weights = "{number}.safetensors"
dataset = "fashion_mnist"
norm = "Linf"
eps = 0.02
mean = "none"
std = "none"
architecture = {{ python = "nets.py:tiny" }}
"""


@contextlib.contextmanager
def scratch_database(server: str) -> Iterator[str]:
    """The URL of a database of one's own, which is dropped at the end."""
    name = f"auditor_bench_{uuid.uuid4().hex}"
    admin = create_engine(f"{server.rstrip('/')}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield f"{server.rstrip('/')}/{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def make_zoo(folder: Path, number: int) -> LocalZoo:
    """So many linear classifiers, each the classes' mean pictures with a noise of its own: better and worse ones."""
    pixels, labels, _ = load_demo()
    pictures = torch.from_numpy(pixels.reshape(len(pixels), -1).astype(np.float32) / 255)
    means = torch.stack([pictures[torch.from_numpy(labels) == label].mean(0) for label in range(10)])
    folder.mkdir()
    (folder / "nets.py").write_text(NET)
    for index in range(number):
        torch.manual_seed(index)
        rows = means + 0.3 * index / number * torch.randn_like(means)
        weights = {"1.weight": rows, "1.bias": -0.5 * (rows**2).sum(1)}  # the nearest mean has the largest logit
        save_file(weights, folder / f"{index}.safetensors")
    (folder / "zoo.toml").write_text("".join(MODEL.format(number=index) for index in range(number)))
    return LocalZoo(folder, trust_code=True)
