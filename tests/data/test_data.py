"""Data sets and hierarchies: the shipped subset is what its rule makes of the whole, bad files are refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from auditor.data import CLASSES, load_hierarchy, load_images
from auditor.data.fashion_mnist import DEMO_FILE, load_demo, load_split, read_idx
from auditor.errors import DataError, UsageError


def test_the_subset_is_a_hundred_of_each_class_taking_turns() -> None:
    images, labels, indices = load_demo()
    assert images.shape == (1000, 28, 28)
    assert images.dtype == np.uint8
    assert np.array_equal(labels, np.tile(np.arange(10), 100))
    assert len(set(indices.tolist())) == 1000
    assert DEMO_FILE.stat().st_size < 500_000
    assert "MIT" in (DEMO_FILE.parent / "FASHION_MNIST_LICENSE").read_text()


def test_the_subset_is_made_by_its_rule(fashion_mnist: Path) -> None:
    whole, whole_labels = load_split("test", fashion_mnist)
    images, labels, indices = load_demo()
    assert np.array_equal(whole[indices], images)
    assert np.array_equal(whole_labels[indices], labels)
    for k in range(10):
        assert np.array_equal(np.sort(indices[k::10]), np.flatnonzero(whole_labels == k)[:100])


def test_samples_are_a_prefix_and_more_than_the_subset_is_the_whole_set(fashion_mnist: Path) -> None:
    few, more = load_images("fashion_mnist", 30), load_images("fashion_mnist", 256)
    assert np.array_equal(few.images, more.images[:30])
    assert few.digest != more.digest
    assert few.images.dtype == np.float32
    assert few.images.shape == (30, 1, 28, 28)
    assert (few.images.min(), few.images.max()) == (0, 1)
    whole, prefix = load_images("fashion_mnist", None, fashion_mnist), load_images("fashion_mnist", 1001, fashion_mnist)
    assert len(whole.labels) == 10_000
    assert np.array_equal(prefix.indices, np.arange(1001))
    with pytest.raises(UsageError, match="has 10000 test images, 10001 were requested"):
        load_images("fashion_mnist", 10_001, fashion_mnist)


@pytest.mark.parametrize(
    ("name", "samples", "message"), [("mnist", 5, "no data set"), ("fashion_mnist", 0, "at least 1")]
)
def test_what_there_is_not(name: str, samples: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_images(name, samples)


@pytest.mark.long
def test_training_and_test_images(fashion_mnist: Path) -> None:
    images, labels = load_split("train", fashion_mnist)
    assert images.shape == (60_000, 28, 28)
    assert np.bincount(labels).tolist() == [6000] * 10
    assert pytest.approx(images.mean() / 255, abs=1e-4) == 0.2860
    assert pytest.approx(images.std() / 255, abs=1e-4) == 0.3530


def _idx(shape: tuple[int, ...], kind: int = 8) -> bytes:
    header = bytes([0, 0, kind, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + bytes(int(np.prod(shape)))


def test_idx_files(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(_idx((2, 3)))
    (tmp_path / "zipped.gz").write_bytes(gzip.compress(_idx((2, 3))))
    assert read_idx(tmp_path / "plain").shape == read_idx(tmp_path / "zipped.gz").shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing", None),
        ("empty", b""),
        ("short", _idx((2, 3))[:-1]),
        ("float", _idx((2, 3), kind=13)),
        ("html", b"<html></html>"),
        ("cut.gz", gzip.compress(_idx((20, 30)), mtime=0)[:-9]),
        ("plain.gz", _idx((2, 3))),
    ],
)
def test_damaged_idx_files(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot read the idx file"):
        read_idx(tmp_path / name)


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Fashion-MNIST idx files of the test split"):
        load_split("test", tmp_path)


def test_files_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(_idx((4, 5, 5)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(_idx((4,)))
    with pytest.raises(DataError, match=r"expected images \(N, 28, 28\)"):
        load_split("test", tmp_path)


def test_fashion_mnist_hierarchy() -> None:
    hierarchy = load_hierarchy("fashion_mnist", CLASSES["fashion_mnist"])
    found = dict(zip(hierarchy.classes, hierarchy.superclasses, strict=True))
    tops, footwear = ["T-shirt/top", "pullover", "dress", "coat", "shirt"], ["sandal", "sneaker", "ankle boot"]
    assert found == dict.fromkeys(tops, "tops") | dict.fromkeys(footwear, "footwear") | {
        "trouser": "trouser",
        "bag": "bag",
    }
    assert "1708.07747" in hierarchy.source


def test_hierarchies_must_exist_and_cover_the_classes() -> None:
    with pytest.raises(DataError, match="expected one of: cifar10, cifar100, fashion_mnist, imagenet"):
        load_hierarchy("mnist", ("cat",))
    with pytest.raises(DataError, match="hat"):
        load_hierarchy("fashion_mnist", (*CLASSES["fashion_mnist"], "hat"))
