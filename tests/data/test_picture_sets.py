"""SVHN, STL-10 and Tiny ImageNet in their published layouts, from small made files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from auditor.config import settings
from auditor.data import CLASSES, load_hierarchy, load_images
from auditor.data.known import find_known_training
from auditor.data.tiny_imagenet import SYNSETS
from auditor.data.training import load_training
from auditor.errors import DataError
from tests.data import layouts
from tests.factories import picture_sets


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDITOR_DATA", str(tmp_path / "data"))
    settings.cache_clear()
    return tmp_path / "data"


@pytest.mark.parametrize("place", ["itself", "data folder", "torchvision's"])
def test_svhn(place: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = [0, 1, 9, 5]
    pixels = layouts.random_pixels(4, 3, 32, 32)
    folder = data_folder / "svhn" if place == "torchvision's" else data_folder
    picture_sets.publish_svhn(monkeypatch, picture_sets.svhn(folder, "test", pixels, digits) / "test_32x32.mat")
    found = load_images("svhn", None, None if place == "data folder" else data_folder)
    assert np.array_equal(found.images, pixels.astype(np.float32) / 255)
    assert found.labels.tolist() == digits


def test_svhn_training(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = [k for k in range(10) for _ in range(10)]
    pixels = layouts.random_pixels(100, 3, 32, 32)
    picture_sets.publish_svhn(monkeypatch, picture_sets.svhn(data_folder, "train", pixels, digits) / "train_32x32.mat")
    found = load_training("svhn", data_folder)
    assert (len(found.labels), len(found.held_labels)) == (90, 10)
    assert sorted(found.held_labels.tolist()) == list(range(10))


@pytest.mark.parametrize("folder", ["stl10_binary", "."])
def test_stl10(folder: str, data_folder: Path) -> None:
    pixels = layouts.random_pixels(3, 3, 96, 96)
    picture_sets.stl10(data_folder / folder, "test", pixels, [9, 0, 4])
    picture_sets.stl10(data_folder / folder, "train", pixels[:2], [1, 2])
    found = load_images("stl10", None, data_folder)
    assert np.array_equal(found.images, pixels.astype(np.float32) / 255)
    assert found.labels.tolist() == [9, 0, 4]
    assert find_known_training("stl10", data_folder).labels.tolist() == [1, 2]


@pytest.mark.parametrize("folder", ["tiny-imagenet-200", "."])
def test_tiny_imagenet(folder: str, data_folder: Path) -> None:
    picture_sets.tiny_imagenet(data_folder / folder, SYNSETS, training=2)
    found = load_images("tiny_imagenet", 200, data_folder)
    assert found.images.shape == (200, 3, 64, 64)
    assert found.labels.tolist() == list(range(200))
    assert np.array_equal((found.images * 255).round().mean(axis=(1, 2, 3)), np.arange(200))
    assert find_known_training("tiny_imagenet", data_folder).labels.tolist() == [*range(200), *range(200)]


def _mat(path: Path, **arrays: object) -> None:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays)


@pytest.mark.parametrize("name", ["svhn", "stl10", "tiny_imagenet"])
@pytest.mark.parametrize("given", [True, False])
def test_what_is_not_there(name: str, given: bool, data_folder: Path) -> None:
    data_folder.mkdir()
    message = "one folder for each of" if given else "is not downloaded: put"
    for load in (lambda place: load_images(name, 1, place), lambda place: find_known_training(name, place)):
        with pytest.raises(DataError, match=message) as caught:
            load(data_folder if given else None)
        assert "\n" not in str(caught.value)


def test_an_svhn_file_that_is_not_the_published_one_is_not_parsed(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SciPy's reader is compiled code, which a damaged file can crash."""
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("the file was parsed"))
    picture_sets.svhn(data_folder, "test", layouts.random_pixels(1, 3, 32, 32), [1])
    with pytest.raises(DataError, match=r"its MD5 is not that of the published test_32x32\.mat"):
        load_images("svhn", 1, data_folder)


def test_damaged_files(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = data_folder / "test_32x32.mat"
    _mat(file, X=np.zeros((32, 32, 3, 2), np.uint8))
    cases = [(r"cannot read .*y is missing", None)]
    cases.append((r"expected SVHN's X .* got uint8 \(32, 32, 3, 2\)", {"y": np.array([[1]])}))
    cases.append((r"expected SVHN's X", {"y": np.array([[1], [11]])}))
    for message, more in cases:
        if more is not None:
            _mat(file, X=np.zeros((32, 32, 3, 2), np.uint8), **more)
        picture_sets.publish_svhn(monkeypatch, file)
        with pytest.raises(DataError, match=message):
            load_images("svhn", 1, data_folder)
    file.write_bytes(b"<html>moved</html>")
    with pytest.raises(DataError, match="cannot read"):
        load_images("svhn", 1, data_folder)
    (data_folder / "test_X.bin").write_bytes(bytes(100))
    with pytest.raises(DataError, match="cannot read STL-10's files"):
        load_images("stl10", 1, data_folder)
    (data_folder / "test_y.bin").write_bytes(b"\1")
    with pytest.raises(DataError, match="expected 27648 bytes for each label from 1 to 10, got 100 bytes"):
        load_images("stl10", 1, data_folder)


def test_damaged_folders_of_tiny_imagenet(data_folder: Path) -> None:
    picture_sets.tiny_imagenet(data_folder, SYNSETS)
    (data_folder / "val" / "images" / "val_7.JPEG").unlink()
    with pytest.raises(DataError, match=r"expected the picture .*val_7.JPEG, which"):
        load_images("tiny_imagenet", 1, data_folder)
    (data_folder / "train" / SYNSETS[5] / "images" / f"{SYNSETS[5]}_0.JPEG").unlink()
    with pytest.raises(DataError, match=f"got none of {SYNSETS[5]}"):
        find_known_training("tiny_imagenet", data_folder)
    (data_folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn00000000\n")
    with pytest.raises(DataError, match="expected lines `picture, tab, WordNet id"):
        load_images("tiny_imagenet", 1, data_folder)


def test_hierarchies() -> None:
    assert "".join(label[0] for label in load_hierarchy("stl10", CLASSES["stl10"]).superclasses) == "vavaaaaavv"
    digits = load_hierarchy("svhn", CLASSES["svhn"]).superclasses
    assert [k for k in range(10) if digits[k] == "loops"] == [0, 6, 8, 9]
    tiny = load_hierarchy("tiny_imagenet", CLASSES["tiny_imagenet"])
    group = dict(zip(SYNSETS, tiny.superclasses, strict=True))
    known = {"n02124075": "mammals", "n01443537": "fish", "n02917067": "vehicles", "n07873807": "food"}
    assert {synset: group[synset] for synset in known} == known
    whole = load_hierarchy("imagenet", CLASSES["imagenet"])
    of_whole = dict(zip(CLASSES["imagenet"], whole.superclasses, strict=True))
    shared = set(CLASSES["tiny_imagenet"]) & set(of_whole)
    of_tiny = dict(zip(CLASSES["tiny_imagenet"], tiny.superclasses, strict=True))
    assert len(shared) > 150
    assert {name: of_tiny[name] for name in shared} == {name: of_whole[name] for name in shared}
    assert sum(Counter(of_tiny.values()).values()) == 200
