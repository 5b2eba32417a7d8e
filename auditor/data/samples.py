"""What was found of a data set: arrays, or pictures that are not decoded yet."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.data import pictures
from auditor.data.digests import picture_digests
from auditor.data.transforms import transform_arrays
from auditor.records import Transform

Pixels = NDArray[Any]
"""``(N, C, H, W)``: uint8, or float32 in [0, 1]."""


class Samples(Protocol):
    """Test samples in the data set's own order.

    Attributes:
        labels: ``(N,)`` int64.
        indices: ``(N,)`` int64, their numbers in the whole test set; None where that is all there is.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def indices(self) -> NDArray[np.int64] | None: ...

    def first(self, number: int | None) -> "Samples":
        """The first ``number`` of them; all for None."""

    def pixels(self, transform: Transform | None) -> Pixels:
        """Their pixels, transformed.

        Raises:
            DataError: a picture cannot be read, or they are not all of one size.
        """

    def digests(self) -> NDArray[np.uint64]:
        """One of each sample as it lies there, ``(N,)``: two models that want other sizes see the same samples."""


@dataclass(frozen=True)
class Arrays:
    """Samples whose pixels ``(N, C, H, W)`` are in memory: uint8, or float32 in [0, 1]."""

    images: Pixels
    labels: NDArray[np.int64]
    indices: NDArray[np.int64] | None = None

    def first(self, number: int | None) -> "Arrays":
        indices = None if self.indices is None else self.indices[:number]
        return Arrays(self.images[:number], self.labels[:number], indices)

    def pixels(self, transform: Transform | None) -> Pixels:
        return self.images if transform is None else transform_arrays(self.images, transform)

    def digests(self) -> NDArray[np.uint64]:
        return picture_digests((image.tobytes() for image in self.images), self.labels)


@dataclass(frozen=True)
class Pictures:
    """Samples that are picture files.

    Attributes:
        grey: whether they have one channel; None looks at each picture of the whole test set, which ``whole`` are.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    grey: bool | None = None
    whole: tuple[Path, ...] = ()
    indices: None = None

    def first(self, number: int | None) -> "Pictures":
        return replace(self, paths=self.paths[:number], labels=self.labels[:number], whole=self.whole or self.paths)

    def pixels(self, transform: Transform | None) -> Pixels:
        grey = pictures.all_grey(self.whole or self.paths) if self.grey is None else self.grey
        return pictures.read(self.paths, transform, grey=grey)

    def digests(self) -> NDArray[np.uint64]:
        return picture_digests((path.read_bytes() for path in self.paths), self.labels)
