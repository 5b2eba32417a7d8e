"""Grey and RGB: what loses nothing is converted by itself, the rest where it is said; what is left aside is noted."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from auditor.data import CLASSES, ImageSet, load_images
from auditor.data.training import load_training
from auditor.errors import DataError
from auditor.records import CustomData, Transform
from tests.data import layouts

GREY = layouts.random_pixels(2, 8, 8)
COLOUR = layouts.random_pixels(2, 8, 8, 3)
REPEATED = "grey pictures: repeated in the 3 channels of the model's input"
NAMES = ("a", "b")
TO_GREY = Transform(channels="grey")


def _of(folder: Path, save: Callable[[int, Path], Any], **more: Any) -> ImageSet:
    """Two pictures, saved to a path without a suffix."""
    for number, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        save(number, folder / name / "0")
    own = CustomData(path=str(folder), classes=NAMES, levels=(NAMES,))
    return load_images("own", None, custom=own, **more)


def _saved(ending: str, mode: str = "", pixels: np.ndarray = GREY, **options: Any) -> Callable[[int, Path], None]:
    def save(number: int, path: Path) -> None:
        picture = Image.fromarray(pixels[number])
        (picture.convert(mode) if mode else picture).save(path.with_suffix(ending), **options)

    return save


def _transparent(number: int, path: Path) -> None:
    picture = Image.fromarray(GREY[number]).convert("LA")
    picture.putalpha(Image.fromarray(np.full((8, 8), 100, np.uint8)))
    picture.save(path.with_suffix(".png"))


def _transparent_palette(number: int, path: Path) -> None:
    Image.fromarray(GREY[number] // 2).convert("P").save(path.with_suffix(".png"), transparency=bytes(64))


GREY_CONTENT = {
    "grey PNG": _saved(".png"),
    "palette PNG": _saved(".png", "P"),
    "grey PNG with alpha": _saved(".png", "LA"),
    "RGB PNG": _saved(".png", "RGB"),
    "RGBA PNG": _saved(".png", "RGBA"),
    "palette BMP": _saved(".bmp", "P"),
    "RGB BMP": _saved(".bmp", "RGB"),
    "PPM": _saved(".ppm", "RGB"),
    "PGM": _saved(".pgm"),
    "TIFF": _saved(".tif"),
    "RGB TIFF": _saved(".tiff", "RGB"),
    "WebP": _saved(".webp", "RGB", lossless=True),
    "WebP with alpha": _saved(".webp", "RGBA", lossless=True),
}


@pytest.mark.parametrize("case", GREY_CONTENT)
def test_pictures_of_grey_content_for_any_model(case: str, tmp_path: Path) -> None:
    one = _of(tmp_path / "one", GREY_CONTENT[case], channels=1)
    assert np.array_equal(one.images, GREY[:, None].astype(np.float32) / 255)
    three = _of(tmp_path / "three", GREY_CONTENT[case], channels=3)
    assert np.array_equal(three.images, np.repeat(one.images, 3, axis=1))
    assert one.notes == ()
    assert set(three.notes) <= {REPEATED}


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
@pytest.mark.parametrize("mode", ["", "RGB"])
def test_lossy_formats_of_grey_content(ending: str, mode: str, tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 2 * 64).reshape(2, 8, 8).astype(np.uint8)
    found = _of(tmp_path, _saved(ending, mode, smooth, quality=90), channels=1)
    np.testing.assert_allclose(found.images[:, 0], smooth / 255, atol=0.1)


def test_black_and_white_pictures(tmp_path: Path) -> None:
    binary = np.where(GREY > 127, 255, 0).astype(np.uint8)
    found = _of(tmp_path, _saved(".png", "1", binary), channels=1)
    assert np.array_equal(found.images[:, 0], binary / np.float32(255))


COLOURS = {
    "RGB PNG": _saved(".png", pixels=COLOUR),
    "RGBA PNG": _saved(".png", "RGBA", COLOUR),
    "palette PNG": _saved(".png", "P", COLOUR),
    "CMYK JPEG": _saved(".jpg", "CMYK", COLOUR),
    "JPEG": _saved(".jpg", pixels=COLOUR),
    "WebP": _saved(".webp", pixels=COLOUR, lossless=True),
    "BMP": _saved(".bmp", pixels=COLOUR),
}


@pytest.mark.parametrize("case", COLOURS)
def test_colours_for_a_model_of_one_channel(case: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'got colours \(RGB\) in .*set channels = "grey" in zoo.toml'):
        _of(tmp_path / "one", COLOURS[case], channels=1)
    colour = _of(tmp_path / "three", COLOURS[case], channels=3).images
    grey = _of(tmp_path / "grey", COLOURS[case], channels=1, transform=TO_GREY)
    luma = np.tensordot(colour, [0.299, 0.587, 0.114], (1, 0))
    np.testing.assert_allclose(grey.images[:, 0], luma, atol=1 / 255)
    again = _of(tmp_path / "again", COLOURS[case], channels=3, transform=TO_GREY)
    assert np.array_equal(again.images, np.repeat(grey.images, 3, axis=1))
    assert again.notes == (REPEATED,)


def _npz(folder: Path, images: np.ndarray, **more: Any) -> ImageSet:
    np.savez(folder / "d.npz", images=images, labels=[0, 1])
    own = CustomData(path=str(folder / "d.npz"), classes=NAMES, levels=(NAMES,))
    return load_images("own", None, custom=own, **more)


def _float(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("kind", [np.asarray, _float])
def test_arrays_for_models_of_other_channels(kind: Callable, tmp_path: Path) -> None:
    grey, colour = kind(GREY[..., None]), kind(COLOUR)
    one, three = _npz(tmp_path, grey, channels=1), _npz(tmp_path, grey, channels=3)
    assert np.array_equal(three.images, np.repeat(one.images, 3, axis=1))
    assert (one.notes, three.notes) == ((), (REPEATED,))
    same = _npz(tmp_path, np.repeat(grey, 3, axis=-1 if kind is np.asarray else 1), channels=1)
    np.testing.assert_allclose(same.images, one.images, atol=1e-6)
    with pytest.raises(DataError, match=r'got colours \(RGB\) in the images: set channels = "grey"'):
        _npz(tmp_path, colour, channels=1)
    taken = _npz(tmp_path, colour, channels=1, transform=TO_GREY).images
    np.testing.assert_allclose(taken[:, 0], COLOUR @ [0.299, 0.587, 0.114] / 255, atol=1 / 255)
    pil = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR])
    assert np.abs(taken[:, 0] * 255 - pil).max() <= (0.51 if kind is _float else 0)


def test_what_is_converted_changes_the_digest_and_not_the_pictures(tmp_path: Path) -> None:
    colour, grey = (_npz(tmp_path, COLOUR, channels=3, transform=how) for how in (None, TO_GREY))
    assert colour.digest != grey.digest
    assert colour.pictures.tolist() == grey.pictures.tolist()


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_models_of_other_channels_are_refused(channels: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"expected a model of grey .* got one of {channels} channels"):
        _of(tmp_path / "d", _saved(".png"), channels=channels)
    with pytest.raises(DataError, match=rf"got one of {channels} channels"):
        _npz(tmp_path, COLOUR, channels=channels)


def test_known_sets_for_other_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, three = (load_images("fashion_mnist", 20, channels=channels) for channels in (1, 3))
    assert np.array_equal(three.images, np.repeat(one.images, 3, axis=1))
    layouts.cifar(tmp_path / "d", monkeypatch, "CIFAR10", layouts.random_pixels(20, 3, 32, 32))
    with pytest.raises(DataError, match="got colours"):
        load_images("cifar10", 20, tmp_path / "d", channels=1)
    assert load_images("cifar10", 20, tmp_path / "d", channels=1, transform=TO_GREY).images.shape == (20, 1, 32, 32)


def test_training_images_become_what_test_images_do(tmp_path: Path) -> None:
    pixels, labels = layouts.random_pixels(40, 8, 8), np.arange(40) % 2
    np.savez(tmp_path / "t.npz", images=pixels, labels=labels)
    own = CustomData(path=None, classes=NAMES, levels=(NAMES,))
    found = load_training("own", tmp_path / "t.npz", custom=own, channels=3)
    assert found.images.shape == (36, 3, 8, 8)


def _rotated(number: int, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR[number]).save(path.with_suffix(".jpg"), exif=exif)


def _animated(ending: str) -> Callable[[int, Path], None]:
    def save(number: int, path: Path) -> None:
        others = [Image.fromarray(255 - COLOUR[number])]
        lossless = {"lossless": True} if ending == ".webp" else {}
        picture = Image.fromarray(COLOUR[number])
        picture.save(path.with_suffix(ending), save_all=True, append_images=others, **lossless)

    return save


def _one_gif_more(number: int, path: Path) -> None:
    _saved(".png", pixels=COLOUR)(number, path)
    Image.fromarray(GREY[0]).save(path.with_name("1.GIF"))


@pytest.mark.parametrize(
    ("save", "note"),
    [
        (_rotated, "2 of 2 pictures have an EXIF orientation, which is not applied"),
        (_animated(".webp"), "2 of 2 pictures have several frames; only the first is used"),
        (_animated(".tif"), "2 of 2 pictures have several frames; only the first is used"),
        (_animated(".png"), "2 of 2 pictures have several frames; only the first is used"),
        (_transparent, "2 of 2 pictures have transparent pixels; their hidden colours are used"),
        (_transparent_palette, "2 of 2 pictures have transparent pixels"),
        (_one_gif_more, "2 pictures skipped: .gif is not supported"),
    ],
)
def test_what_does_not_reach_the_model_is_noted(save: Callable, note: str, tmp_path: Path) -> None:
    found = _of(tmp_path, save, channels=3)
    assert any(said.startswith(note) for said in found.notes)


def test_the_first_frame_counts(tmp_path: Path) -> None:
    found = _of(tmp_path, _animated(".tif"), channels=3)
    assert np.array_equal(found.images, COLOUR.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def _cut(ending: str) -> Callable[[int, Path], None]:
    def save(number: int, path: Path) -> None:
        target = path.with_suffix(ending)
        Image.fromarray(layouts.random_pixels(40, 40, 3, seed=number)).save(target)
        target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])

    return save


def _sixteen(ending: str) -> Callable[[int, Path], None]:
    return lambda number, path: Image.fromarray(GREY[number].astype(np.uint16) * 257).save(path.with_suffix(ending))


def _sixteen_colours(number: int, path: Path) -> None:
    """A PPM of 16 bits, as PNG's cannot be written by PIL."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in COLOUR[number].astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (_cut(".jpg"), "cannot read the picture .*0.jpg: .*truncated"),
        (_cut(".png"), "cannot read the picture .*0.png: "),
        (_cut(".webp"), "cannot read the picture .*0.webp: "),
        (_cut(".bmp"), "cannot read the picture .*0.bmp: .*truncated"),
        (_cut(".tif"), "cannot read the picture .*0.tif: "),
        (_sixteen(".png"), r"more than 8 bits a channel .*: convert it to 8 bits, or use an .npz file of float"),
        (_sixteen(".tif"), "more than 8 bits a channel"),
        (_sixteen(".pgm"), "more than 8 bits a channel"),
        (_sixteen_colours, "more than 8 bits a channel"),
        (lambda n, path: Image.fromarray(GREY[n] / np.float32(255)).save(path.with_suffix(".tif")), "more than 8 bits"),
        (lambda n, path: Image.fromarray(GREY[n]).save(path.with_suffix(".gif")), "got files ending in .gif"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_that_are_refused(save: Callable, message: str, channels: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _of(tmp_path, save, channels=channels)
    assert "\n" not in str(caught.value)


def test_a_damaged_exif_block_is_none(tmp_path: Path) -> None:
    def save(number: int, path: Path) -> None:
        Image.fromarray(GREY[number]).save(path.with_suffix(".jpg"), exif=b"Exif\0\0MM\0*\0\0\xff\xff\x01\x12")

    assert _of(tmp_path, save, channels=1).notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:20] + b"\xff" * 30 + raw[50:], "cannot read the idx file"),
        (lambda raw: raw[:60], "cannot read the idx file"),
        (lambda _: gzip.compress(b"\0\0\x0d\x03" + bytes(12)), "is not that of an idx file of unsigned bytes"),
        (lambda _: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "cannot read the idx file"),
    ],
)
def test_damaged_idx_files_are_one_line(change: Callable, message: str, tmp_path: Path) -> None:
    images = gzip.compress(layouts.idx(layouts.random_pixels(30, 28, 28)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(change(images))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(layouts.idx(np.zeros(30, np.uint8))))
    with pytest.raises(DataError, match=message) as caught:
        load_images("fashion_mnist", 20, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shift", [1, 91])
def test_labels_of_idx_files_count_from_zero(shift: int, tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(layouts.idx(layouts.random_pixels(30, 28, 28)))
    labels = (np.arange(30) % len(CLASSES["fashion_mnist"]) + shift).astype(np.uint8)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(layouts.idx(labels))
    with pytest.raises(DataError, match=rf"labels \(N,\) from 0 to 9 .* from {shift} to {shift + 9}$"):
        load_images("fashion_mnist", 20, tmp_path)
