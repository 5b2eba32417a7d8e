"""Data sets in all their layouts, and saved adversarial images."""

import gzip
import hashlib
import io
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from scipy.io import savemat

from auditor.attacks.adversarials import Adversarials, save_adversarials
from auditor.data import cifar, image_folder, pictures, stl10, tiny_imagenet
from auditor.data.corruptions.published import open_array
from auditor.data.fashion_mnist import read_idx
from auditor.data.npz import read_npz
from auditor.data.samples import Pictures
from auditor.data.svhn import read_mat
from auditor.records import Transform
from auditor.results.adversarials import open_saved
from tests.factories.cifar_sets import as_published
from tests.fuzz.contract import BrokenPromiseError, Target

CLASSES = ("cat", "dog", "T-shirt/top")
PIL = ("PIL.Image", *(f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP")))
NUMPY = ("numpy.lib._npyio_impl", "numpy.lib._format_impl", "zipfile")


def npz(data: bytes, folder: Path) -> None:
    path = folder / "set.npz"
    path.write_bytes(data)
    found = read_npz(path, len(CLASSES))
    pixels, labels = found.images, found.labels
    fits = pixels.ndim == 4 and pixels.shape[1] in (1, 3) and labels.shape == pixels.shape[:1]
    if not fits or pixels.dtype not in (np.uint8, np.float32) or not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise BrokenPromiseError(f"got images {pixels.dtype} {pixels.shape}, labels {labels.dtype} {labels.shape}")
    if pixels.dtype == np.float32 and not (0 <= pixels.min() <= pixels.max() <= 1):
        raise BrokenPromiseError("got pixels outside of [0, 1]")


def npy(data: bytes, folder: Path) -> None:
    """The first byte says which array of a sound .npz file the rest stands for."""
    names = ("images.npy", "labels.npy", "layout.npy")
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_npz())) as whole, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            archive.writestr(name, data[1:] if data[:1] == bytes([number]) else whole.read(name))
    npz(stream.getvalue(), folder)


def _npz(**changes: np.ndarray) -> bytes:
    stream = io.BytesIO()
    arrays = {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.array([0, 2]), "layout": np.array("NHWC")}
    np.savez_compressed(stream, **arrays | changes)
    return stream.getvalue()


def npz_seeds() -> Sequence[bytes]:
    return [
        _npz(),
        _npz(images=np.full((2, 3, 4, 3), 0.5, np.float16)),
        _npz(labels=np.eye(3, dtype=np.float32)[:2]),
        _npz(layout=np.array("NCHW"), images=np.zeros((2, 1, 4, 4), np.bool_)),
        _npz(labels=np.array(["a", None], object)),
    ]


def npy_seeds() -> Sequence[bytes]:
    arrays = (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2]), np.array("NHWC"))
    return [bytes([number]) + _npy(array) for number, array in enumerate(arrays)]


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def idx(data: bytes, folder: Path) -> None:
    """The first byte says whether the file is compressed: by the data themselves, or by the harness."""
    path = folder / ("a.gz" if data[:1] in (b"g", b"z") else "a")
    path.write_bytes(gzip.compress(data[1:], 1) if data[:1] == b"z" else data[1:])
    read_idx(path)


def idx_seeds() -> Sequence[bytes]:
    plain = struct.pack(">HBBII", 0, 8, 2, 2, 3) + bytes(range(6))
    return [b"p" + plain, b"g" + gzip.compress(plain), b"z" + plain]


def picture(data: bytes, folder: Path) -> None:
    path = folder / "a.png"
    path.write_bytes(data)
    pictures.all_grey([path])
    for grey in (True, False):
        pixels, _ = pictures.read([path], Transform(resize=4, crop=(4, 4)), grey=grey)
        if pixels.shape != (1, 1 if grey else 3, 4, 4) or pixels.dtype != np.uint8:
            raise BrokenPromiseError(f"got pixels {pixels.dtype} {pixels.shape}")


def picture_seeds() -> Sequence[bytes]:
    colours = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    image = Image.fromarray(colours)
    images = [("png", image), ("png", Image.fromarray(colours[..., 0])),
              ("png", image.convert("P")), ("png", image.convert("RGBA")),
              *((kind, image) for kind in ("jpeg", "bmp", "ppm", "tiff", "webp", "gif"))]  # fmt: skip
    found = []
    for kind, image in images:
        image.save(stream := io.BytesIO(), kind)
        found.append(stream.getvalue())
    return found


def folder_names(data: bytes, folder: Path) -> None:
    """The bytes are the names of class folders, each with one picture, separated by slashes."""
    content = _picture()
    for name in data.split(b"/")[:20]:
        if name not in (b"", b".", b"..") and b"\0" not in name and len(name) < 200:
            place = folder / name.decode(errors="surrogateescape")
            place.mkdir(exist_ok=True)
            (place / f"{place.name[:9]}.png").write_bytes(content)
    found = image_folder.find(folder, CLASSES)
    if sorted(set(found.labels.tolist())) != [0, 1, 2]:
        raise BrokenPromiseError(f"got the labels {set(found.labels.tolist())} of {len(CLASSES)} folders")


def _picture() -> bytes:
    return picture_seeds()[1]


def folder_seeds() -> Sequence[bytes]:
    return [
        b"cat/dog/t shirt top",
        b"0/1/2",
        b"val/cat/dog",
        b"cat/CAT/dog/T-shirt_top",
        "cat/dog/犬\n\x1b[2J".encode(),
    ]


def mat(data: bytes, folder: Path) -> None:
    path = folder / "test_32x32.mat"
    path.write_bytes(data)
    read_mat(path)


def mat_seeds() -> Sequence[bytes]:
    found = []
    for compressed in (False, True):
        values = {"X": np.zeros((32, 32, 3, 1), np.uint8), "y": np.array([[10]], np.uint8)}
        savemat(stream := io.BytesIO(), values, do_compression=compressed)
        found.append(stream.getvalue())
    return found


def cifar_pickle(data: bytes, folder: Path) -> None:
    """The first byte says which file the rest is; both have the MD5 that is asked for, as nobody's files may have."""
    batch, names = (data[1:], cifar_seeds()[1][1:]) if data[:1] == b"b" else (cifar_seeds()[0][1:], data[1:])
    (folder / "batch").write_bytes(batch)
    (folder / "names").write_bytes(names)
    batch_md5, names_md5 = (hashlib.md5(content).hexdigest() for content in (batch, names))
    kind = SimpleNamespace(__name__="CIFAR10", filename="a.tar.gz", test_list=[("batch", batch_md5)],
                           meta={"filename": "names", "key": "label_names", "md5": names_md5})  # fmt: skip
    found = cifar.read_batches(kind, folder, CLASSES, train=False)
    fits = found.images.shape == (len(found.labels), 3, 32, 32) and found.images.dtype == np.uint8
    if not fits or any(label not in range(len(CLASSES)) for label in found.labels.tolist()):
        raise BrokenPromiseError(f"got {found.images.dtype} {found.images.shape} and the labels {found.labels}")


@cache
def cifar_seeds() -> Sequence[bytes]:
    pixels = np.arange(3 * 32 * 32).astype(np.uint8).reshape(1, 3, 32, 32)
    rows = {"data": np.asfortranarray(pixels.reshape(1, -1)), "fine_labels": [2]}
    return [
        b"b" + as_published(pixels, [1], "labels"),
        b"m" + pickle.dumps({"label_names": list(CLASSES)}, protocol=2),
        b"b" + pickle.dumps(rows, protocol=2),
        b"b" + pickle.dumps(rows, protocol=4),
        b"m" + pickle.dumps({"label_names": list(CLASSES)}, protocol=0),
        b"mcos\nsystem\n(S'true'\ntR.",
    ]


def stl10_files(data: bytes, folder: Path) -> None:
    """The first byte is the number of labels, the second says whether zeros fill up the pictures after the labels."""
    count, fill = (data[:2] + b"\0\0")[:2]
    labels, pixels = data[2 : 2 + count], data[2 + count :]
    (folder / "test_y.bin").write_bytes(labels)
    (folder / "test_X.bin").write_bytes(pixels.ljust(count * 3 * stl10.SIDE**2, b"\0") if fill == ord("z") else pixels)
    found = stl10.find(folder, None)
    images, numbers = found.pixels(None, 3)[0], found.labels
    if images.shape != (len(numbers), 3, 96, 96) or not 0 <= numbers.min() <= numbers.max() < len(stl10.CLASSES):
        raise BrokenPromiseError(f"got {images.dtype} {images.shape} and the labels {numbers}")


def stl10_seeds() -> Sequence[bytes]:
    return [b"\2z\1\12" + bytes(range(200)), b"\3z\1\12\13", b"\0z", b"\1a\1" + bytes(100)]


def tiny_annotations(data: bytes, folder: Path) -> None:
    """The bytes are Tiny ImageNet's file of annotations, beside which there is one picture."""
    (images := folder / "val" / "images").mkdir(parents=True)
    (images / "0").touch()
    (folder / "val" / tiny_imagenet.ANNOTATIONS).write_bytes(data)
    found = tiny_imagenet.find(folder, None)
    if not isinstance(found, Pictures) or set(found.paths) != {images / "0"} or len(set(found.labels.tolist())) != 200:
        raise BrokenPromiseError(f"got the labels {sorted(set(found.labels.tolist()))}")


def tiny_seeds() -> Sequence[bytes]:
    lines = [f"0\t{synset}\n" for synset in tiny_imagenet.SYNSETS]
    return [
        "".join(lines).encode(),
        "".join(lines).replace("\n", "\t0\t0\r\n", 9).encode(),
        "".join(lines[1:]).encode(),
        f"{''.join(lines)}../images/0\t{tiny_imagenet.SYNSETS[0]}\n".encode(),
        f"{''.join(lines)}犬\x1b[2J\0\t{tiny_imagenet.SYNSETS[0]}\n".encode(),
    ]


def corruption(data: bytes, folder: Path) -> None:
    path = folder / "fog.npy"
    path.write_bytes(data)
    array = open_array(path, (2, 4, 4, 3), np.dtype(np.uint8))
    array.sum()


def corruption_seeds() -> Sequence[bytes]:
    return [_npy(np.zeros((2, 4, 4, 3), np.uint8)), _npy(np.zeros((2, 4, 4, 3), np.float32))]


def adversarials(data: bytes, folder: Path) -> None:
    path = folder / "a.npz"
    path.write_bytes(data)
    saved = open_saved(path)
    saved.samples(saved.varied(3))


def adversarial_seeds() -> Sequence[bytes]:
    images = np.full((2, 1, 3, 3), 0.5, np.float32)
    numbers = np.arange(2)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for clean in (None, np.zeros((2, 1, 3, 3), np.uint8)):
            made = Adversarials(images, numbers, numbers, numbers, np.array(["fgsm", "apgd"]), clean)
            path = Path(folder) / "a.npz"
            save_adversarials(path, made, model="demo:a", identity="i", norm="Linf", eps=0.1)
            found.append(path.read_bytes())
    return found


TARGETS = (
    Target("npz", npz, npz_seeds, NUMPY),
    Target("npz-array", npy, npy_seeds, NUMPY, length=2048),
    Target("idx", idx, idx_seeds, ("gzip",)),
    Target("picture", picture, picture_seeds, PIL),
    Target("image-folder", folder_names, folder_seeds, length=512),
    Target("svhn", mat, mat_seeds, length=8192, closed=True),
    Target("cifar", cifar_pickle, cifar_seeds),
    Target("stl10", stl10_files, stl10_seeds, length=1024),
    Target("tiny-imagenet", tiny_annotations, tiny_seeds, length=8192),
    Target("corruptions", corruption, corruption_seeds, NUMPY),
    Target("adversarials", adversarials, adversarial_seeds, NUMPY),
)
