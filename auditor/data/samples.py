"""What was found of a data set: arrays, or pictures that are not decoded yet."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.data import pictures
from auditor.data.channels import fit_channels
from auditor.data.digests import picture_digests
from auditor.data.transforms import transform_arrays
from auditor.records import Transform

Pixels = NDArray[Any]
"""``(N, C, H, W)``: uint8, or float32 in [0, 1]."""
Notes = tuple[str, ...]


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

    def pixels(self, transform: Transform | None, channels: int | None) -> tuple[Pixels, Notes]:
        """Their pixels, transformed and in so many channels (None: in their own), and notes on what was done.

        Raises:
            DataError: a picture cannot be read, they are not all of one size, or colours would be lost unasked.
        """

    def digests(self) -> NDArray[np.uint64]:
        """One of each sample as it lies there, ``(N,)``: two models that want other sizes see the same samples."""


@dataclass(frozen=True)
class Arrays:
    """Samples whose pixels ``(N, C, H, W)`` are in memory: uint8, or float32 in [0, 1]; ``notes`` are of their file."""

    images: Pixels
    labels: NDArray[np.int64]
    indices: NDArray[np.int64] | None = None
    notes: Notes = ()

    def first(self, number: int | None) -> "Arrays":
        indices = None if self.indices is None else self.indices[:number]
        return Arrays(self.images[:number], self.labels[:number], indices, self.notes)

    def pixels(self, transform: Transform | None, channels: int | None) -> tuple[Pixels, Notes]:
        images, notes = fit_channels(self.images, channels, None if transform is None else transform.channels)
        return images if transform is None else transform_arrays(images, transform), (*self.notes, *notes)

    def digests(self) -> NDArray[np.uint64]:
        return picture_digests((image.tobytes() for image in self.images), self.labels)


@dataclass(frozen=True)
class Pictures:
    """Samples that are picture files.

    Attributes:
        grey: whether they have one channel, where the model's are not known; None looks at each picture of the whole
            test set, which ``whole`` are.
        notes: on what was found beside them.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    grey: bool | None = None
    whole: tuple[Path, ...] = ()
    indices: None = None
    notes: Notes = ()

    def first(self, number: int | None) -> "Pictures":
        return replace(self, paths=self.paths[:number], labels=self.labels[:number], whole=self.whole or self.paths)

    def pixels(self, transform: Transform | None, channels: int | None) -> tuple[Pixels, Notes]:
        if channels is None and self.grey is None:
            grey = pictures.all_grey(self.whole or self.paths)
        else:
            grey = channels == 1 or bool(self.grey)
        grey = grey or (transform is not None and transform.channels == "grey")
        found, notes = pictures.read(self.paths, transform, grey=grey, channels=channels)
        return found, (*self.notes, *notes)

    def digests(self) -> NDArray[np.uint64]:
        return picture_digests((path.read_bytes() for path in self.paths), self.labels)
