"""What --data may hold: each layout gives the same samples, and what is not quite one is refused by name."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from auditor.data import CLASSES, check_images, load_images
from auditor.data.image_folder import find
from auditor.errors import AuditorError, DataError, UsageError
from auditor.records import CustomData
from tests.data import layouts

GREY = layouts.random_pixels(20, 28, 28)
COLOUR = layouts.random_pixels(20, 8, 8, 3)
LABELS = np.arange(20) % 10


def _folder(root: Path, names: list[str], images: np.ndarray = COLOUR) -> Path:
    return layouts.image_folder(root, {name: images[k::10] for k, name in enumerate(names)})


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


CIFAR = list(CLASSES["cifar10"])
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "class names": lambda tmp: _folder(tmp / "d", CIFAR),
    "other case": lambda tmp: _folder(tmp / "d", [name.title() for name in CIFAR]),
    "numbers": lambda tmp: _folder(tmp / "d", [str(k) for k in range(10)]),
    "padded numbers": lambda tmp: _folder(tmp / "d", [f"{k:04}" for k in range(10)]),
    "in test": lambda tmp: _folder(tmp / "d" / "test", CIFAR).parent,
    "in val": lambda tmp: _folder(tmp / "d" / "val", CIFAR).parent,
    "bytes": lambda tmp: _npz(tmp / "d.npz", images=COLOUR, labels=LABELS),
    "x and y": lambda tmp: _npz(tmp / "d.npz", x=COLOUR, y=LABELS.astype(np.uint8)),
    "floats": lambda tmp: _npz(
        tmp / "d.npz", images=(COLOUR.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)), labels=LABELS
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_samples(layout: str, tmp_path: Path) -> None:
    place = LAYOUTS[layout](tmp_path)
    check_images("cifar10", 20, place)
    found = load_images("cifar10", 15, place)
    assert np.array_equal(found.images, COLOUR[:15].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    assert found.images.dtype == np.float32
    assert found.labels.tolist() == LABELS[:15].tolist()
    assert found.indices.tolist() == list(range(15))
    with pytest.raises(UsageError, match="cifar10 has 20 test images, 21 were requested"):
        check_images("cifar10", 21, place)


def _idx_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    images, labels = np.resize(GREY, (1200, 28, 28)), (np.arange(1200) // 120).astype(np.uint8)
    (folder / "t10k-images-idx3-ubyte").write_bytes(layouts.idx(images))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(layouts.idx(labels))
    return folder


@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw"])
def test_idx_files_of_fashion_mnist(place: str, tmp_path: Path) -> None:
    _idx_files(tmp_path / "d" / place)
    found = load_images("fashion_mnist", 1100, tmp_path / "d")
    assert np.array_equal(found.images[:20, 0], GREY.astype(np.float32) / 255)
    few = load_images("fashion_mnist", 20, tmp_path / "d")
    assert few.labels.tolist() == 2 * list(range(10))
    assert few.indices.tolist() == [*range(0, 1200, 120), *range(1, 1200, 120)]
    assert np.array_equal(few.images[1, 0], np.resize(GREY, (1200, 28, 28))[120].astype(np.float32) / 255)


def test_the_published_idx_files_give_the_shipped_subset(fashion_mnist: Path) -> None:
    shipped, found = load_images("fashion_mnist", 1000), load_images("fashion_mnist", 1000, fashion_mnist)
    assert found.digest == shipped.digest
    assert found.pictures.tolist() == shipped.pictures.tolist()


def test_fashion_mnist_of_ones_own_goes_before_the_shipped_subset(tmp_path: Path) -> None:
    names = [name.replace("/", "_") for name in CLASSES["fashion_mnist"]]
    folder = _folder(tmp_path / "d", names, GREY)
    archive = _npz(tmp_path / "d.npz", images=GREY, labels=LABELS)
    found = [load_images("fashion_mnist", 20, place) for place in (folder, archive)]
    assert found[0].digest == found[1].digest
    assert np.array_equal(found[0].images[:, 0], GREY.astype(np.float32) / 255)


def test_any_prefix_of_an_image_folder_is_balanced(tmp_path: Path) -> None:
    pictures = layouts.random_pixels(6, 4, 4, 3)
    layouts.image_folder(tmp_path / "d", {"b": pictures[:3], "a": pictures[3:4], "c": pictures[4:]})
    (tmp_path / "d" / "b" / "1.png").rename(tmp_path / "d" / "b" / "10.JPEG")
    (tmp_path / "d" / "b" / "notes.txt").write_text("not a picture")
    (tmp_path / "d" / "b" / ".hidden.png").write_text("not a picture")
    (tmp_path / "d" / ".git").mkdir()
    found = find(tmp_path / "d", ("b", "c", "a"))
    names = [str(path.relative_to(tmp_path / "d")) for path in found.paths]
    assert names == ["b/0.png", "c/0.png", "a/0.png", "b/10.JPEG", "c/1.png", "b/2.png"]
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 0]


@pytest.mark.parametrize(
    ("modes", "channels"), [("LL", 1), ("LR", 3), ("RL", 3), ("PP", 3), ("11", 3), ("AL", 3), ("CC", 3)]
)
def test_pictures_are_rgb_unless_all_are_grey(modes: str, channels: int, tmp_path: Path) -> None:
    full = {"R": "RGB", "A": "RGBA", "C": "CMYK"}
    for name, mode in zip("ab", modes, strict=True):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(COLOUR[0]).convert(full.get(mode, mode))
        picture.save(tmp_path / name / f"0.{'jpg' if mode == 'C' else 'png'}")
    own = CustomData(path=str(tmp_path), classes=("a", "b"), levels=(("x", "y"),))
    assert load_images("own", 1, custom=own).images.shape == (1, channels, 8, 8)


def _with(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A good image folder with a change."""

    def make(tmp: Path) -> Path:
        change(_folder(tmp / "d", CIFAR))
        return tmp / "d"

    return make


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _make(path: Path) -> Path:
    path.mkdir()
    return path


BAD_PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda tmp: tmp / "d", "in the folder or .npz file .*d, which is no existing file or folder"),
    "an empty folder": (
        lambda tmp: _make(tmp / "d"),
        "folder cifar-10-batches-py, or one folder for each of 10 .* got no folders",
    ),
    "folders of something else": (
        lambda tmp: _folder(tmp / "d", ["x1", "x2", "x3", "x4"]),
        "named like 'airplane', got 'x1', 'x2', 'x3' and 1 more",
    ),
    "a class missing": (_with(lambda d: _remove(d / "cat")), "10 classes in .*; missing: 'cat'$"),
    "an unknown class": (_with(lambda d: _make(d / "zebra")), "unknown: 'zebra'$"),
    "a misspelt class": (_with(lambda d: (d / "cat").rename(d / "catt")), "missing: 'cat'; unknown: 'catt'"),
    "one class twice": (_with(lambda d: _make(d / "CAT")), "'CAT' and 'cat' .* name the same class"),
    "names and numbers mixed": (_with(lambda d: (d / "cat").rename(d / "3")), "missing: 'cat'; unknown: '3'"),
    "too many numbers": (
        lambda tmp: _folder(tmp / "d", [str(k) for k in range(1, 11)]),
        "missing: 'airplane'; unknown: '10'",
    ),
    "an empty class folder": (_with(lambda d: _empty(d / "cat")), r"expected pictures in .*cat \(\.jpg, .*got none"),
    "a folder in a class folder": (_with(lambda d: _make(d / "cat" / "more")), "got the folder 'more' there"),
}


@pytest.mark.parametrize("case", BAD_PLACES)
def test_bad_places_are_refused_before_anything_is_loaded(case: str, tmp_path: Path) -> None:
    make, message = BAD_PLACES[case]
    with pytest.raises(DataError, match=message) as caught:
        check_images("cifar10", 5, make(tmp_path))
    assert "\n" not in str(caught.value)


def test_numbers_are_no_naming_where_classes_are_numbers_themselves(tmp_path: Path) -> None:
    layouts.image_folder(tmp_path / "d", {"0": COLOUR[:1], "1": COLOUR[1:2]})
    with pytest.raises(DataError, match="missing: '2'; unknown: '0'"):
        find(tmp_path / "d", ("1", "2"))
    assert find(tmp_path / "d", ("1", "0")).labels.tolist() == [0, 1]


def test_names_that_differ_by_punctuation_alone_have_to_be_exact(tmp_path: Path) -> None:
    layouts.image_folder(tmp_path / "d", {"C": COLOUR[:1], "C++": COLOUR[1:2]})
    assert [path.parent.name for path in find(tmp_path / "d", ("C++", "C")).paths] == ["C++", "C"]
    with pytest.raises(DataError, match="missing: 'c'; unknown: 'C'"):
        find(tmp_path / "d", ("C++", "c"))


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _cut(path: Path) -> None:
    Image.fromarray(layouts.random_pixels(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def _many_bits(path: Path) -> None:
    Image.fromarray(layouts.random_pixels(8, 8).astype(np.uint16) * 200).save(path)


def _bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


BAD_PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a web page": (_bytes(b"<html></html>"), "cannot identify"),
    "an empty file": (_bytes(b""), "cannot identify"),
    "cut off": (_cut, "truncated"),
    "more than 8 bits a channel": (_many_bits, "more than 8 bits a channel"),
    "a bomb": (_bomb, "decompression bomb"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", BAD_PICTURES)
@pytest.mark.parametrize("name", ["0.png", "1.png"])
def test_bad_pictures_are_refused_by_name(case: str, name: str, tmp_path: Path) -> None:
    make, message = BAD_PICTURES[case]
    folder = _folder(tmp_path / "d", CIFAR)
    (folder / "airplane" / name).unlink()
    make(folder / "airplane" / name)
    check_images("cifar10", 20, folder)
    with pytest.raises(DataError, match=f"cannot read the picture .*airplane/{name}: .*{message}") as caught:
        load_images("cifar10", 20, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", [check_images, load_images])
def test_a_link_to_nowhere_is_named(load: Callable[..., object], tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", CIFAR)
    (folder / "airplane" / "1.png").unlink()
    (folder / "airplane" / "1.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"'1\.png', which is a pipe, a device or a broken link"):
        load("cifar10", 20, folder)


def _evil(path: Path) -> None:
    """An object array, whose elements are pickles."""
    array = np.empty(1, object)
    array[0] = print
    np.savez(path, images=array, labels=np.zeros(1, np.int64))


def _not_numpy(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", "x")
        archive.writestr("labels", "x")


def _single(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, COLOUR)


def _arrays(images: np.ndarray = COLOUR, labels: np.ndarray = LABELS) -> Callable[[Path], object]:
    return lambda path: np.savez(path, images=images, labels=labels)


FLOATS = COLOUR.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
BAD_ARRAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle": (_bytes(pickle.dumps(COLOUR)), "cannot read .* expected an .npz file"),
    "pickled objects": (_evil, "pickled objects are not read"),
    "an empty file": (_bytes(b""), "cannot read"),
    "a web page": (_bytes(b"<html></html>"), "cannot read"),
    "a broken zip": (_bytes(b"PK\x03\x04" + bytes(50)), "cannot read"),
    "a zip of other files": (_not_numpy, "images or labels is no array"),
    "one array": (_single, "a single array"),
    "other names": (lambda path: np.savez(path, data=COLOUR, target=LABELS), "it has the arrays data, target"),
    "two pairs": (lambda path: np.savez(path, images=COLOUR, labels=LABELS, x=COLOUR, y=LABELS), "leave out one pair"),
    "no arrays": (lambda path: np.savez(path), "it has the arrays none"),
    "no images": (_arrays(COLOUR[:0], LABELS[:0]), "holds no images"),
    "a number": (_arrays(np.array(3, np.uint8)), "expected images"),
    "floats to 255": (_arrays(FLOATS * np.float32(255)), r"in \[0, 1\], got values from 0 to 255"),
    "normalized": (_arrays(FLOATS - np.float32(0.5)), r"in \[0, 1\], got values from -0.5 to 0.5"),
    "too few labels": (_arrays(labels=LABELS[:-1]), r"expected 20 integer labels \(N,\), .*got int64 \(19,\)"),
    "labels from 1": (_arrays(labels=LABELS + 1), "labels from 0 to 9, got 1 to 10"),
    "negative labels": (_arrays(labels=LABELS - 1), "labels from 0 to 9, got -1 to 8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_npz_files_are_refused(case: str, tmp_path: Path) -> None:
    make, message = BAD_ARRAYS[case]
    make(tmp_path / "d.npz")
    with pytest.raises(DataError, match=message) as caught:
        check_images("cifar10", 5, tmp_path / "d.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["x" * 5000, "a\0b"])
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_path_that_cannot_be_is_an_error_like_any_other(name: str, place: str) -> None:
    with pytest.raises(AuditorError):
        check_images(name, 5, Path(place))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no existing file"):
        check_images("cifar10", 5, tmp_path / "pipe")
