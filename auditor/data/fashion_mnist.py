"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): the shipped demo subset, and the whole set if it is installed."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.data import image_folder
from auditor.data.downloads import data_folder, download
from auditor.data.samples import Arrays, Samples
from auditor.errors import DataError, first_line
from auditor.files import open_regular

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEMO_FILE = Path(__file__).parent / "fashion_mnist_demo.npz"
DEMO_PER_CLASS = 100
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

MOST_BYTES = 1 << 30
"""Of an idx file; the largest that is published, EMNIST's, has 640 million."""

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def read_idx(path: Path) -> Pixels:
    """Read one idx file of unsigned bytes, gzip-compressed or not.

    Raises:
        DataError: the file is missing, damaged, or not an idx file of unsigned bytes.
    """
    try:
        with open_regular(path) as stored, gzip.open(stored) if path.suffix == ".gz" else stored as file:
            head = file.read(4)
            zeros, kind, dimensions = struct.unpack(">HBB", head)
            if zeros != 0 or kind != 0x08:
                raise ValueError(f"header {head.hex()} is not that of an idx file of unsigned bytes")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = math.prod(shape)
            if size > MOST_BYTES:
                raise ValueError(f"expected at most {MOST_BYTES:,} bytes, got the shape {shape}")
            raw = file.read(size + 1)  # reads no more than the header says, because a few bytes may expand to many
        if len(raw) != size:
            more = "more" if len(raw) > size else f"{len(raw):,}"
            raise ValueError(f"expected {size:,} bytes for the shape {shape}, got {more}")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    except (OSError, EOFError, struct.error, zlib.error, ValueError, MemoryError) as error:
        raise DataError(f"cannot read the idx file {path}: {first_line(error)}") from error


def load_split(split: str, folder: Path | None = None) -> tuple[Pixels, Labels]:
    """Load all of ``train`` or ``test``: images ``(N, 28, 28)`` uint8 and labels ``(N,)`` from 0 to 9.

    ``folder`` holds the idx files, or torchvision's ``FashionMNIST/raw``; None searches the data folder and Debian's
    folder, and then lets torchvision download the files.

    Raises:
        DataError: the files are not found, or they are damaged.
    """
    files = _find(split, folder)
    images, labels = (read_idx(file) for file in files)
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise DataError(
            f"expected images (N, 28, 28) and labels (N,) from 0 to 9 in {files[0].parent}, "
            f"got {images.shape} and {labels.shape} from {labels.min(initial=255)} to {labels.max(initial=0)}"
        )
    return images, labels.astype(np.int64)


def _find(split: str, folder: Path | None) -> list[Path]:
    for place in (*_places(folder or data_folder()), *([] if folder else [DEBIAN_FOLDER])):
        for suffix in (".gz", ""):
            files = [place / f"{name}{suffix}" for name in _FILES[split]]
            if all(file.is_file() for file in files):
                return files
    if folder is None:
        return _download(split)
    raise DataError(f"no Fashion-MNIST idx files of the {split} split in {folder}")


def _places(folder: Path) -> tuple[Path, ...]:
    """The folder itself, and the folders in it that torchvision uses."""
    return folder, folder / "raw", folder / "FashionMNIST" / "raw"


def _download(split: str) -> list[Path]:
    from torchvision.datasets import FashionMNIST

    root = data_folder()
    folder = root / "FashionMNIST" / "raw"
    download(
        lambda: FashionMNIST(str(root), train=split == "train", download=True),
        "Fashion-MNIST",
        f"the idx files into {folder}, or install Debian's package dataset-fashion-mnist",
    )
    return [folder / name for name in _FILES[split]]


def find(place: Path | None, samples: int | None) -> Samples:
    """The test images of the shipped subset for up to 1,000 samples, otherwise the whole test set.

    An image folder in ``place`` takes precedence, in the order of its files.

    Raises:
        DataError: the files are not found, or they are damaged.
    """
    if place is not None and image_folder.locate(place, CLASSES):
        return image_folder.find(place, CLASSES)
    few = samples is not None and samples <= len(CLASSES) * DEMO_PER_CLASS
    if few and place is None:
        images, labels, indices = load_demo()
        return Arrays(images[:, None], labels, indices)
    images, labels = load_split("test", place)
    if not few or np.bincount(labels, minlength=len(CLASSES)).min() < DEMO_PER_CLASS:
        return Arrays(images[:, None], labels)
    indices = demo_indices(labels)
    return Arrays(images[indices][:, None], labels[indices], indices)


def find_training(place: Path | None) -> Samples:
    """The 60,000 training images in their published order, or an image folder in ``place``.

    Raises:
        DataError: the files are not found, or they are damaged.
    """
    if place is not None and image_folder.locate(place, CLASSES):
        return image_folder.find(place, CLASSES)
    images, labels = load_split("train", place)
    return Arrays(images[:, None], labels)


def demo_indices(labels: Labels) -> NDArray[np.int64]:
    """The fixed rule of the demo subset: the first 100 test images of each class, with alternating classes."""
    per_class = [np.flatnonzero(labels == k)[:DEMO_PER_CLASS] for k in range(len(CLASSES))]
    return np.stack(per_class, axis=1).ravel()


def load_demo() -> tuple[Pixels, Labels, NDArray[np.int64]]:
    """The 1,000 shipped test images ``(N, 28, 28)``, their labels, and their indices in the whole test set."""
    with np.load(DEMO_FILE, allow_pickle=False) as file:
        return file["images"], file["labels"].astype(np.int64), file["indices"].astype(np.int64)


def write_demo() -> None:
    """Write the shipped subset from the whole test set."""
    images, labels = load_split("test")
    indices = demo_indices(labels)
    np.savez_compressed(
        DEMO_FILE,
        images=images[indices],
        labels=labels[indices].astype(np.uint8),
        indices=indices.astype(np.uint16),
    )


if __name__ == "__main__":
    write_demo()
