"""Small data sets in every layout, made by the tests themselves."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from auditor.data import CLASSES


def random_pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def image_folder(root: Path, pictures: Mapping[str, Sequence[NDArray[np.uint8]]]) -> Path:
    """One folder a class, its pictures named 0.png, 1.png, … ."""
    for name, images in pictures.items():
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


def idx(array: NDArray[np.uint8]) -> bytes:
    """The bytes of an idx file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


class OldDtype:
    """Pickled as NumPy 1.0 wrote its dtypes, and as they lie in the published batches: today's NumPy warns of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("u1", 0, 1)


def cifar(
    folder: Path, monkeypatch: pytest.MonkeyPatch, loader: str, images: NDArray[np.uint8], **changes: Any
) -> None:
    """A small test batch in torchvision's layout, which torchvision is told to take for the published one.

    ``images`` are ``(N, 3, 32, 32)``; labels count up from 0, over and over.
    """
    kind = getattr(datasets, loader)
    classes = CLASSES[loader.lower()]
    labels = [number % len(classes) for number in range(len(images))]
    key = "labels" if loader == "CIFAR10" else "fine_labels"
    batch = {"data": images.reshape(len(images), -1), key: labels, "old": OldDtype()}
    names = {kind.meta["key"]: list(classes)} | changes
    folder.mkdir(parents=True)
    (folder / kind.test_list[0][0]).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(names, protocol=2))
    trust(monkeypatch, loader, folder)


def trust(monkeypatch: pytest.MonkeyPatch, loader: str, folder: Path) -> None:
    """Let torchvision expect the MD5 that these files have."""
    kind = getattr(datasets, loader)
    ((name, _),) = kind.test_list
    monkeypatch.setattr(kind, "test_list", [[name, calculate_md5(folder / name)]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": calculate_md5(folder / kind.meta["filename"])})


KINDS = [("cifar10", "CIFAR10", "cifar-10-batches-py"), ("cifar100", "CIFAR100", "cifar-100-python")]
