"""CIFAR-10 and CIFAR-100, small, with training and test batches in torchvision's layout, and MD5s to match."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from auditor.data import CLASSES
from auditor.records.assignments import CIFAR100

FOLDERS = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}


def both(folder: Path, monkeypatch: pytest.MonkeyPatch, *, training: int = 200, test: int = 60) -> Path:
    """CIFAR-10 with so many pictures; CIFAR-100 with the classes of the paper's subset, 12 and 4 pictures of each."""
    cifar(folder, monkeypatch, "CIFAR10", [k % 10 for k in range(training)], [k % 10 for k in range(test)])
    names = [name for group in CIFAR100.superclasses for name in (*group.sources, *group.targets)]
    numbers = [CLASSES["cifar100"].index(name) for name in names]
    cifar(folder, monkeypatch, "CIFAR100", numbers * 12, numbers * 4)
    return folder


def cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, loader: str, training: list[int], test: list[int]) -> None:
    """Pictures whose brightness depends on the class, with noise."""
    kind, place = getattr(datasets, loader), folder / FOLDERS[loader]
    key = "labels" if loader == "CIFAR10" else "fine_labels"
    place.mkdir(parents=True)
    for name, attribute, labels, seed in (
        (kind.train_list[0][0], "train_list", training, 1),
        (kind.test_list[0][0], "test_list", test, 2),
    ):
        batch = {"data": pictures(labels, seed).reshape(len(labels), -1), key: labels}
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))
        monkeypatch.setattr(kind, attribute, [[name, calculate_md5(place / name)]])
    meta = place / kind.meta["filename"]
    meta.write_bytes(pickle.dumps({kind.meta["key"]: list(CLASSES[loader.lower()])}, protocol=2))
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": calculate_md5(meta)})


def as_published(images: NDArray[np.uint8], labels: Sequence[int], key: str) -> bytes:
    """A batch as Python 2 and NumPy 1.0 pickled it, and as the published ones are.

    Args:
        images: ``(N, 3, 32, 32)``.
        labels: fewer than 256 different ones.
        key: of the labels.
    """

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    shape = number(len(images)) + number(3 * 32 * 32) + b"\x86"
    begun = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nq\x02" + number(0) + b"\x85U\x01btR"
    dtype = b"cnumpy\ndtype\nq\x03(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + number(-1) * 2 + b"K\x00tb"
    data = begun + b"(K\x01" + shape + dtype + b"\x89" + text(images.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"a_s_%06d.png" % number) for number in range(len(labels))) + b"e"
    values = {b"batch_label": text(b"testing batch 1 of 1"), key.encode(): numbers, b"data": data, b"filenames": names}
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."


def pictures(labels: list[int], seed: int) -> NDArray[np.uint8]:
    """``(N, 3, 32, 32)``."""
    noise = np.random.default_rng(seed).integers(0, 100, (len(labels), 3, 32, 32))
    return (noise + np.array(labels)[:, None, None, None] * 1.5).astype(np.uint8)
