"""The samples of a data set: arrays, or picture files that are not decoded yet."""

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
    """Test samples in the order of the data set.

    Attributes:
        labels: ``(N,)`` int64.
        indices: ``(N,)`` int64, their numbers in the whole test set; None if these are all samples.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def indices(self) -> NDArray[np.int64] | None: ...

    def first(self, number: int | None) -> "Samples":
        """The first ``number`` of them; all for None."""

    def pixels(self, transform: Transform | None, channels: int | None) -> tuple[Pixels, Notes]:
        """Their pixels, transformed and with this number of channels (None keeps theirs), and notes on the conversion.

        Raises:
            DataError: a picture cannot be read, the pictures differ in size, or colours would be lost.
        """

    def digests(self) -> NDArray[np.uint64]:
        """``(N,)`` digests of the samples before any transform: equal for two models with different input sizes."""


@dataclass(frozen=True)
class Arrays:
    """Samples whose pixels ``(N, C, H, W)`` are in memory: uint8, or float32 in [0, 1]; ``notes`` are on their file."""

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
        grey: whether they have one channel, if the model's channels are not known; None reads the headers of
            ``all_paths``, the whole test set.
        notes: on other files that were found.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    grey: bool | None = None
    all_paths: tuple[Path, ...] = ()
    indices: None = None
    notes: Notes = ()

    def first(self, number: int | None) -> "Pictures":
        return replace(
            self, paths=self.paths[:number], labels=self.labels[:number], all_paths=self.all_paths or self.paths
        )

    def pixels(self, transform: Transform | None, channels: int | None) -> tuple[Pixels, Notes]:
        if channels is None and self.grey is None:
            grey = pictures.all_grey(self.all_paths or self.paths)
        else:
            grey = channels == 1 or bool(self.grey)
        grey = grey or (transform is not None and transform.channels == "grey")
        found, notes = pictures.read(self.paths, transform, grey=grey, channels=channels)
        return found, (*self.notes, *notes)

    def digests(self) -> NDArray[np.uint64]:
        return picture_digests(map(pictures.read_file, self.paths), self.labels)
