"""CIFAR-10-C, CIFAR-100-C, ImageNet-C and ImageNet-3DCC in their published layouts, as RobustBench reads them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data import ImageSet
from auditor.data.digests import set_digest
from auditor.data.imagenet import robustbench_list
from auditor.data.samples import Arrays, Pictures
from auditor.errors import DataError, first_line
from auditor.files import open_regular
from auditor.records import Transform, ZooEntry
from auditor.records.corruptions import NAMES, PUBLISHED, PUBLISHED_3D, SEVERITIES

FOLDERS = {
    ("cifar10", PUBLISHED): "CIFAR-10-C",
    ("cifar100", PUBLISHED): "CIFAR-100-C",
    ("imagenet", PUBLISHED): "ImageNet-C",
    ("imagenet", PUBLISHED_3D): "ImageNet-3DCC",
}
CLEAN = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "imagenet": "val"}
"""The folder of the clean test images, where RobustBench has it beside the corrupted ones."""
TEST_SET = 10_000
"""The images of one severity; a file of CIFAR holds five severities one after the other."""
ARRAY = (len(SEVERITIES) * TEST_SET, 32, 32, 3)


def find_root(dataset: str, norm: str, place: Path | None) -> Path | None:
    """The folder of the published files: ``place`` or its subfolder of the published name; None if there is none."""
    if place is None or (dataset, norm) not in FOLDERS:
        return None
    names = [name if dataset == "imagenet" else f"{name}.npy" for name in NAMES[norm]]
    inside = (place / FOLDERS[dataset, norm], place)
    return next((root for root in inside if any((root / name).exists() for name in names)), None)


def clean_place(dataset: str, root: Path, place: Path | None) -> Path | None:
    """Where the clean test images are: beside the published files, or for None in their default location."""
    beside = (root.parent, root) if place is None else (place, root.parent, root)
    return next((folder for folder in beside if (folder / CLEAN[dataset]).is_dir()), None)


def check_published(dataset: str, norm: str, place: Path | None) -> Path:
    """The folder of the published files, each of which is there and has the published shape.

    Raises:
        DataError: a file is missing, or is not as published.
    """
    root = find_root(dataset, norm, place)
    if root is None:
        name = FOLDERS.get((dataset, norm), f"corrupted {dataset}")
        raise DataError(f"expected {name}'s published files in {place or 'the path given with --data'}, found none")
    if dataset == "imagenet":
        for name in NAMES[norm]:
            for severity in SEVERITIES:
                if not (root / name / str(severity)).is_dir():
                    raise DataError(f"the corruption {name} at severity {severity} is missing in {root}")
        return root
    for name in NAMES[norm]:
        open_array(root / f"{name}.npy", ARRAY, np.dtype(np.uint8))
    read_labels(root)
    return root


def open_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> NDArray[Any]:
    """Open an array without reading it.

    Raises:
        DataError: the file is missing, or is no such array.
    """
    try:
        with open_regular(path) as file:
            array = _map(file)
    except FileNotFoundError as error:
        raise DataError(f"the corruption file {path.name} is missing in {path.parent}") from error
    except Exception as error:  # damaged headers raise many types of errors
        raise DataError(f"cannot read {path}: expected an array of {shape} bytes ({first_line(error)})") from error
    if array.shape != shape or (dtype is not None and array.dtype != dtype):
        raise DataError(f"expected {dtype or 'integers'} {shape} in {path}, got {array.dtype} {array.shape}")
    return array


def _map(file: BufferedReader) -> NDArray[Any]:
    """What ``np.load`` with ``mmap_mode="r"`` returns, which opens a path itself, and twice."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("pickled objects are not read")
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if by_columns else "C")


def read_labels(root: Path) -> NDArray[np.int64]:
    """The labels ``(10000,)`` of one severity; the file repeats them for each.

    Raises:
        DataError: the severities have other labels, or the file is no such array.
    """
    array = open_array(root / "labels.npy", ARRAY[:1], None)
    if array.dtype.kind not in "iu":
        raise DataError(f"expected integers {ARRAY[:1]} in {root / 'labels.npy'}, got {array.dtype} {array.shape}")
    labels = array.reshape(len(SEVERITIES), TEST_SET).astype(np.int64)
    if (labels != labels[0]).any():
        raise DataError(f"expected the same labels for each severity in {root / 'labels.npy'}, got other ones")
    first: NDArray[np.int64] = labels[0]
    return first


@dataclass(frozen=True)
class PublishedImages:
    """Corruptions of the first N test images, read when they are needed.

    Attributes:
        labels: ``(N,)``, those of the clean images.
        transform: how a picture becomes the model's input.
    """

    root: Path
    dataset: str
    norm: str
    labels: NDArray[np.int64]
    transform: Transform | None
    channels: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(NAMES[self.norm])

    @property
    def identity(self) -> dict[str, Any]:
        return {"published": FOLDERS[self.dataset, self.norm], "pictures": self.digest}

    @property
    def notes(self) -> tuple[str, ...]:
        name = FOLDERS[self.dataset, self.norm]
        return (f"corruptions from the published files of {name}, SHA-256 of the pictures used {self.digest[:16]}",)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all corrupted pictures."""
        digest = hashlib.sha256()
        for name in self.names:
            for severity in SEVERITIES:
                samples = self._samples(name, severity)
                if isinstance(samples, Arrays):
                    digest.update(set_digest(samples.images).encode())
                else:
                    digest.update(samples.digests().tobytes())
        return digest.hexdigest()

    def first(self, number: int) -> "PublishedImages":
        """The corruptions of the first ``number`` images."""
        return replace(self, labels=self.labels[:number])

    def load(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """The images ``(N, C, H, W)`` under a corruption, at severity 1 to 5 in turn."""
        for severity in SEVERITIES:
            pixels, _ = self._samples(name, severity).pixels(self.transform, self.channels)
            yield pixels

    def _samples(self, name: str, severity: int) -> Arrays | Pictures:
        count = len(self.labels)
        if self.dataset != "imagenet":
            start = (severity - 1) * TEST_SET
            array = open_array(self.root / f"{name}.npy", ARRAY, np.dtype(np.uint8))[start : start + count]
            return Arrays(array.transpose(0, 3, 1, 2), self.labels)
        folder = self.root / name / str(severity)
        paths = tuple(folder / file for file in robustbench_list()[0][:count])
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise DataError(f"the picture {missing.relative_to(self.root)} is missing in {self.root}")
        return Pictures(paths, self.labels, grey=False)


def read_published(root: Path, entry: ZooEntry, clean: ImageSet) -> PublishedImages:
    """The corruptions of the clean images in the published files.

    Pictures of ImageNet-C are resized to both sides of the model's input, as RobustBench does, because they are resized
    and cropped already.

    Raises:
        DataError: the files have other labels than the test images, or fewer pictures.
    """
    transform = entry.transform
    if entry.dataset == "imagenet":
        transform = replace(transform or Transform(), resize=entry.input_size[1:], crop=None)
    else:
        labels = read_labels(root)[: len(clean.labels)]
        if len(labels) < len(clean.labels) or (labels != clean.labels).any():
            raise DataError(
                f"{root / 'labels.npy'} has other labels than the test images of {entry.dataset}: both must be in the "
                "published order"
            )
    return PublishedImages(root, entry.dataset, entry.norm, clean.labels, transform, entry.input_size[0])
