"""What a path holds: an image folder, an .npz file, or idx files; for `auditor init`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.data.fashion_mnist import read_idx
from auditor.data.image_folder import INSIDE
from auditor.data.npz import read_npz
from auditor.data.pictures import SUFFIXES
from auditor.errors import DataError
from auditor.files import write_atomically

MOST_CLASSES = 100_000


@dataclass(frozen=True)
class FoundData:
    """Test images at a path.

    Attributes:
        classes: the names of the class folders, sorted as torchvision's ImageFolder sorts them; numbers for arrays.
        size: ``(channels, height, width)``; None for picture files, which may differ.
        arrays: images and labels of idx files, which have to be written as an .npz file.
    """

    layout: Literal["image folder", "npz", "idx"]
    path: Path
    count: int
    classes: tuple[str, ...]
    size: tuple[int, int, int] | None
    arrays: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None


def inspect_data(path: Path) -> FoundData:
    """Find out what test images are at a path; no picture is decoded.

    Raises:
        DataError: the path does not exist, or holds none of the layouts.
    """
    path = path.expanduser()
    if path.is_file() and path.suffix == ".npz":
        found = read_npz(path, MOST_CLASSES)
        size = found.images.shape[1:]
        return FoundData("npz", path, len(found.labels), _numbers(found.labels), (size[0], size[1], size[2]))
    if path.is_file() or _idx_files(path):
        return _inspect_idx(path)
    if not path.is_dir():
        raise DataError(f"expected an image folder, an .npz file or idx files, but {path} does not exist")
    for root in (path / inside for inside in INSIDE):
        counts = {folder.name: _count_pictures(folder) for folder in sorted(root.iterdir())} if root.is_dir() else {}
        counts = {name: count for name, count in counts.items() if count}
        if len(counts) >= 2:
            return FoundData("image folder", path, sum(counts.values()), tuple(counts), None)
    raise DataError(
        f"expected one folder of pictures for each class in {path} (or in its test or val), an .npz file of images and "
        "labels, or idx files such as t10k-images-idx3-ubyte"
    )


def write_npz(found: FoundData, path: Path) -> None:
    """Write idx files as an .npz file.

    Raises:
        OSError: the file cannot be written.
    """
    assert found.arrays is not None
    images, labels = found.arrays
    with write_atomically(path) as file:
        np.savez_compressed(file, images=images, labels=labels)


def _inspect_idx(path: Path) -> FoundData:
    files = _idx_files(path.parent if path.is_file() else path)
    if path.is_file():
        files = [pair for pair in files if path in pair]
    if not files:
        raise DataError(f"expected an .npz file, or idx files of images and labels side by side, got {path}")
    images, labels = read_idx(files[0][0]), read_idx(files[0][1]).astype(np.int64)
    if images.ndim != 3 or labels.shape != images.shape[:1] or len(labels) == 0:
        raise DataError(
            f"expected images (N, H, W) and labels (N,) in {files[0][0].parent}, got {images.shape} and {labels.shape}"
        )
    size = (1, images.shape[1], images.shape[2])
    return FoundData("idx", path, len(labels), _numbers(labels), size, (images, labels))


def _idx_files(path: Path) -> list[tuple[Path, Path]]:
    """Pairs of image and label files in a folder, or where torchvision puts them; those of the test set first."""
    pairs = []
    for place in (path, path / "raw", *(path.glob("*/raw") if path.is_dir() else ())):
        for images in sorted(place.glob("*images*idx3*ubyte*")) if place.is_dir() else ():
            labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
            if labels.is_file():
                pairs.append((images, labels))
    return sorted(pairs, key=lambda pair: not pair[0].name.startswith(("t10k", "test")))


def _count_pictures(folder: Path) -> int:
    return sum(file.suffix.lower() in SUFFIXES for file in folder.iterdir()) if folder.is_dir() else 0


def _numbers(labels: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(map(str, range(int(labels.max()) + 1)))
