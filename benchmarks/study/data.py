"""The study's data sets: Fashion-MNIST, and coloured glyphs of Debian's fonts over textures."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.data.fashion_mnist import CLASSES, load_demo, load_split
from auditor.data.hierarchies import load_hierarchy
from benchmarks.study.recipes import EPS

TRAINING_IMAGES = 16_000
TEST_IMAGES = 500


@dataclass(frozen=True)
class DataSet:
    """Images ``(N, C, S, S)`` in [0, 1] with labels, the classes' superclasses, and the threat models' radii."""

    name: str
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    superclasses: tuple[str, ...]
    eps: dict[str, float]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        return self.images.shape[2]


@functools.cache
def load(name: str) -> DataSet:
    """``fashion_mnist`` or ``glyphs``."""
    if name == "fashion_mnist":
        images, labels = load_split("train")
        tests, test_labels, _ = load_demo()
        return DataSet(
            name,
            torch.from_numpy(images[:TRAINING_IMAGES].copy())[:, None].float() / 255,
            torch.from_numpy(labels[:TRAINING_IMAGES].copy()),
            torch.from_numpy(tests[:TEST_IMAGES].copy())[:, None].float() / 255,
            torch.from_numpy(test_labels[:TEST_IMAGES].copy()),
            load_hierarchy("fashion_mnist", CLASSES).superclasses,
            EPS[name],
        )
    if name == "glyphs":
        from benchmarks.study.glyphs import SUPERCLASSES, make

        images, labels = make(TRAINING_IMAGES, seed=0)
        tests, test_labels = make(TEST_IMAGES, seed=1)
        return DataSet(name, images, labels, tests, test_labels, SUPERCLASSES, EPS[name])
    raise ValueError(f"expected fashion_mnist or glyphs, got {name!r}")
