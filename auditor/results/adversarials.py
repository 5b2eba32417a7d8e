"""Reads the saved adversarial images of an audit: only the file that the audit names, and only if it is the audit's."""

import math
import os
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from auditor.db.results import Detail
from auditor.errors import DataError, file_reason, first_line, one_line
from auditor.files import open_regular
from auditor.records.adversarials import AdversarialSample
from auditor.records.norms import NORM_NAMES
from auditor.records.results import ResultRow
from auditor.text.printable import check_storable

MOST_SMALL = 2**26
"""Bytes of an array that is read completely."""
HOW = "`auditor scan … --save-adversarials DIR --force` saves them"


@dataclass(frozen=True)
class StoredArray:
    """An array inside an uncompressed .npz file: where it begins, and what it is.

    The file is opened each time, and may have changed: a pipe in its place is a DataError.
    """

    path: Path
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> NDArray[Any]:
        """Read all of it. Raises DataError if it is larger than expected."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > MOST_SMALL:
            raise DataError(f"{self.path.name}: expected at most {MOST_SMALL} bytes of an array, got {size}")
        with _open(self.path) as file:
            return self._at(file, 0, self.shape)

    def rows(self, positions: Sequence[int]) -> NDArray[Any]:
        """Read some of its rows, without the others."""
        row = self.shape[1:]
        size = math.prod(row) * self.dtype.itemsize
        with _open(self.path) as file:
            found = [self._at(file, position * size, row) for position in positions]
        return np.stack(found) if found else np.empty((0, *row), self.dtype)

    def _at(self, file: BinaryIO, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
        file.seek(self.start + offset)
        size = math.prod(shape) * self.dtype.itemsize
        content = file.read(size)
        if len(content) != size:
            raise DataError(f"{self.path.name}: the file ends too early")
        return np.frombuffer(content, self.dtype).reshape(shape)


@dataclass(frozen=True)
class SavedAdversarials:
    """A file of adversarial images; its images stay on the disk until :meth:`samples` reads some."""

    path: Path
    model: str
    identity: str
    norm: str
    eps: float
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    attacks: list[str]
    images: StoredArray
    clean: StoredArray | None

    def select(
        self, label: int | None = None, attack: str | None = None, numbers: Sequence[int] | None = None
    ) -> list[int]:
        """The positions of the samples of this true class, broken by this attack, with one of these numbers."""
        chosen = np.ones(len(self.indices), np.bool_)
        if label is not None:
            chosen &= self.labels == label
        if attack is not None:
            chosen &= np.array([name == attack for name in self.attacks], np.bool_)
        if numbers is not None:
            chosen &= np.isin(self.indices, numbers)
        found: list[int] = np.flatnonzero(chosen).tolist()
        return found

    def varied(self, count: int) -> list[int]:
        """The positions of at most ``count`` samples: the first of each true class, then the second, and so on."""
        rank = np.zeros(len(self.labels), np.int64)
        for label in np.unique(self.labels):
            places = np.flatnonzero(self.labels == label)
            rank[places] = np.arange(len(places))
        order: list[int] = np.lexsort((self.labels, rank))[:count].tolist()
        return order

    def samples(self, positions: Sequence[int]) -> list[AdversarialSample]:
        """Read the samples at these positions. Raises DataError if the file ends too early."""
        try:
            images = self.images.rows(positions)
            clean = None if self.clean is None else as_floats(self.clean.rows(positions))
        except OSError as error:
            raise DataError(f"cannot read {self.path.name}: {error.strerror}") from error
        return [
            AdversarialSample(
                number=int(self.indices[position]),
                label=int(self.labels[position]),
                predicted=int(self.predicted[position]),
                attack=self.attacks[position],
                adversarial=images[k],
                clean=None if clean is None else clean[k],
                distance=math.nan if clean is None else distance(images[k], clean[k], self.norm),
            )
            for k, position in enumerate(positions)
        ]


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images in [0, 1], from levels of 255 or from floats."""
    if images.dtype == np.uint8:
        divided: NDArray[np.float32] = np.divide(images, np.float32(255), dtype=np.float32)
        return divided
    with np.errstate(invalid="ignore", over="ignore"):
        return images.astype(np.float32)


def distance(first: NDArray[Any], second: NDArray[Any], norm: str) -> float:
    """The distance of two images in the norm ``Linf``, ``L2`` or ``L1``."""
    order = {"Linf": np.inf, "L2": 2, "L1": 1}[norm]
    with np.errstate(invalid="ignore"):  # a damaged file may hold signalling NaN; the distance is then NaN
        difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.linalg.norm(difference.ravel(), order))


def open_of_audit(detail: Detail) -> SavedAdversarials:
    """Open the file that an audit names.

    Raises:
        DataError: the audit names none, or the file is missing, unreadable, or another audit's; one line says which.
    """
    if detail.adversarials is None:
        raise DataError(f"this audit saved no adversarial images; {HOW}")
    saved = open_saved(Path(detail.adversarials))
    check_identity(saved, detail.row)
    return saved


def check_identity(saved: SavedAdversarials, row: ResultRow) -> None:
    """Raises DataError unless the file is this audit's."""
    if (saved.model, saved.identity) != (row.model, row.identity):
        raise DataError(
            f"{saved.path.name} has the adversarial images of another audit ({saved.model}, identity "
            f"{saved.identity[:12]}); expected {row.model}, identity {(row.identity or '')[:12]}"
        )


def open_saved(path: Path) -> SavedAdversarials:
    """Open a file that ``--save-adversarials`` wrote, and read all of it but the images.

    Raises:
        DataError: it is missing, or not such a file; messages have the name of the file without its folder.
    """
    try:
        arrays = _find_arrays(path)
    except FileNotFoundError as error:
        raise DataError(f"the file {path.name} is not on this machine any more; {HOW} again") from error
    except OSError as error:
        raise DataError(f"cannot read {path.name}: {error.strerror}") from error
    except Exception as error:  # damaged archives and headers raise many types of errors
        raise _wrong(path, first_line(error)) from error
    names = ("images", "indices", "labels", "predicted", "attacks", "model", "identity", "norm", "eps")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise _wrong(path, f"it has no array {missing[0]!r}")
    images, clean = arrays["images"], arrays.get("clean")
    _check_shapes(path, arrays)
    try:
        model, identity, norm, eps = (str(arrays[name].read()[()]) for name in names[5:])
        radius = float(eps)
        if norm not in NORM_NAMES:
            raise ValueError(f"expected one of the norms {', '.join(NORM_NAMES)}, got {norm!r:.60}")
        attacks = [check_storable(str(name)) for name in arrays["attacks"].read().tolist()]
    except (ValueError, SystemError) as error:  # NumPy raises the latter for characters that do not exist
        raise _wrong(path, f"a fact cannot be read: {first_line(error)}") from error
    return SavedAdversarials(
        path=path,
        model=model,
        identity=identity,
        norm=norm,
        eps=radius,
        indices=arrays["indices"].read(),
        labels=arrays["labels"].read(),
        predicted=arrays["predicted"].read(),
        attacks=attacks,
        images=images,
        clean=clean,
    )


def _open(path: Path) -> BufferedReader:
    """Open a file that was there before. Raises DataError if it cannot be opened any more."""
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:
        raise DataError(one_line(f"cannot read {path.name}: {file_reason(error)}")) from error


def _wrong(path: Path, why: str) -> DataError:
    return DataError(one_line(f"{path.name} is no file of adversarial images: {why}"))


def _check_shapes(path: Path, arrays: dict[str, StoredArray]) -> None:
    images, clean = arrays["images"], arrays.get("clean")
    number = images.shape[:1]
    kinds = {"indices": "i", "labels": "i", "predicted": "i", "attacks": "U"}
    wrong = [name for name, kind in kinds.items() if (arrays[name].shape, arrays[name].dtype.kind) != (number, kind)]
    wrong += [name for name in ("model", "identity", "norm", "eps") if arrays[name].shape != ()]
    wrong += [] if len(images.shape) == 4 and min(images.shape[1:]) >= 1 and images.dtype == np.float32 else ["images"]
    if clean is not None and (clean.shape != images.shape or clean.dtype not in (np.uint8, np.float32)):
        wrong.append("clean")
    if wrong:
        raise _wrong(path, f"the array {wrong[0]!r} has another shape or type")


def _find_arrays(path: Path) -> dict[str, StoredArray]:
    """Where the arrays of an uncompressed .npz file begin. Raises ValueError if it is compressed, or has objects."""
    found = {}
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        end = os.fstat(file.fileno()).st_size
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed")
            file.seek(info.header_offset)
            name, extra = struct.unpack("<26x2H", file.read(30))
            file.seek(info.header_offset + 30 + name + extra)
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(file)
            if by_columns and len(shape) > 1:
                raise ValueError(f"{info.filename} is not in C order")
            if dtype.hasobject or min(shape, default=0) < 0 or file.tell() + math.prod(shape) * dtype.itemsize > end:
                raise ValueError(f"{info.filename} holds Python objects, or ends too early")
            found[info.filename.removesuffix(".npy")] = StoredArray(path, file.tell(), shape, dtype)
    return found
