"""Small data sets in the published layouts of SVHN, STL-10 and Tiny ImageNet, made by the tests themselves."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from auditor.data.svhn import PUBLISHED


def svhn(folder: Path, split: str, images: NDArray[np.uint8], digits: list[int]) -> Path:
    """``images (N, 3, 32, 32)``; the digit 0 is stored as 10."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.array([[digit or 10] for digit in digits], np.uint8)
    savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    return folder


def publish_svhn(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Let this be the published file, because no other is read."""
    monkeypatch.setitem(PUBLISHED, file.name, hashlib.md5(file.read_bytes()).hexdigest())


def stl10(folder: Path, split: str, images: NDArray[np.uint8], labels: list[int]) -> Path:
    """``images (N, 3, 96, 96)``, stored column by column; labels from 0 are stored from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / f"{split}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    return folder


def tiny_imagenet(folder: Path, synsets: tuple[str, ...], *, training: int = 1) -> Path:
    """One validation picture of each class, of which every pixel is the class's number; training pictures as many."""
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for number, synset in enumerate(synsets):
        picture = Image.fromarray(np.full((64, 64, 3), number, np.uint8))
        picture.save(folder / "val" / "images" / f"val_{number}.JPEG", quality=100)
        lines.append(f"val_{number}.JPEG\t{synset}\t0\t0\t62\t62")
        (folder / "train" / synset / "images").mkdir(parents=True)
        for k in range(training):
            picture.save(folder / "train" / synset / "images" / f"{synset}_{k}.JPEG", quality=100)
    (folder / "val" / "val_annotations.txt").write_text("\n".join(reversed(lines)) + "\n")
    return folder
