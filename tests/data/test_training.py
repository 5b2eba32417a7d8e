"""Training data: split the same way every time, apart from the test images, and errors that say what is missing."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from auditor.data import load_images
from auditor.data.fashion_mnist import load_split
from auditor.data.training import load_training
from auditor.errors import DataError, UsageError
from auditor.records import CustomData
from tests.data import layouts
from tests.data.layouts import KINDS

CLASSES = ("oak", "elm", "rose")
OWN = CustomData(path=None, classes=CLASSES, levels=(("tree", "tree", "flower"),))


def _digests(images: np.ndarray) -> list[str]:
    return sorted(hashlib.sha256(image.tobytes()).hexdigest() for image in images)


@pytest.mark.long
def test_fashion_mnist_holds_out_what_no_demo_model_was_trained_on() -> None:
    images, labels = load_split("train")
    found = load_training("fashion_mnist", tests=load_images("fashion_mnist", None).pictures)
    assert np.array_equal(found.images, images[:55_000, None])
    assert np.array_equal(found.held_images, images[55_000:, None])
    assert np.array_equal(found.labels, labels[:55_000])
    assert np.array_equal(found.held_labels, labels[55_000:])


@pytest.mark.parametrize(("name", "loader", "folder"), KINDS)
def test_cifar_reads_its_training_batches_and_no_other(
    name: str, loader: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = layouts.random_pixels(1000, 3, 32, 32)
    layouts.cifar(tmp_path / folder, monkeypatch, loader, pixels)
    kind: Any = getattr(datasets, loader)
    monkeypatch.setattr(kind, "train_list", kind.test_list)
    monkeypatch.setattr(kind, "test_list", [["not-there", "0" * 32]])
    found = load_training(name, tmp_path)
    assert (len(found.images), len(found.held_images)) == (900, 100)
    assert _digests(np.concatenate([found.images, found.held_images])) == _digests(pixels)
    again = load_training(name, tmp_path)
    assert np.array_equal(found.held_images, again.held_images)
    assert found.digest == again.digest


def _own(tmp_path: Path, kind: str) -> tuple[Path, np.ndarray]:
    pixels = layouts.random_pixels(60, 8, 8, 3)
    if kind == "npz":
        np.savez(tmp_path / "train.npz", images=pixels, labels=np.repeat(np.arange(3), 20))
        return tmp_path / "train.npz", pixels
    layouts.image_folder(tmp_path / "train", {name: pixels[20 * k : 20 * k + 20] for k, name in enumerate(CLASSES)})
    return tmp_path / "train", pixels


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_ones_own_is_split_class_by_class(tmp_path: Path, kind: str) -> None:
    place, pixels = _own(tmp_path, kind)
    found = load_training("garden", place, custom=OWN)
    assert np.bincount(found.labels).tolist() == [18, 18, 18]
    assert np.bincount(found.held_labels).tolist() == [2, 2, 2]
    whole = np.concatenate([found.images, found.held_images])
    assert _digests(whole) == _digests(pixels.transpose(0, 3, 1, 2).copy())
    assert not set(_digests(found.images)) & set(_digests(found.held_images))


def test_test_images_are_refused(tmp_path: Path) -> None:
    place, _ = _own(tmp_path, "npz")
    with pytest.raises(DataError, match="got its test images"):
        load_training("garden", place, custom=replace(OWN, path=str(place)))
    tests = load_images("garden", None, place, custom=OWN).pictures
    with pytest.raises(DataError, match="60 of garden's 60 test images are among its training images"):
        load_training("garden", place, custom=OWN, tests=tests)
    assert len(load_training("garden", place, custom=OWN, tests=tests + np.uint64(1)).images) == 54


@pytest.mark.parametrize(
    ("name", "own", "folder", "error", "message"),
    [
        ("garden", OWN, None, DataError, "pass --data PATH"),
        ("garden", OWN, Path("nowhere"), DataError, "expected garden's training images in the folder or .npz file"),
        ("imagenet", None, None, DataError, "pass --data PATH"),
        ("garden", None, None, UsageError, "no data set named 'garden'"),
        ("cifar10", None, Path("nowhere"), DataError, "expected cifar10's training images"),
    ],
)
def test_what_there_is_not(
    name: str, own: CustomData | None, folder: Path | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_training(name, folder, custom=own)


def test_too_few_to_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=layouts.random_pixels(3, 8, 8, 3), labels=np.arange(3))
    with pytest.raises(DataError, match="too few to hold some out"):
        load_training("garden", tmp_path / "few.npz", custom=OWN)
