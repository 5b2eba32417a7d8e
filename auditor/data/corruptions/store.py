"""Generated corruptions on disk, because every model of a zoo is audited on the same pictures."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.data.downloads import data_folder
from auditor.files import open_regular, write_atomically
from auditor.records.corruptions import SEVERITIES

logger = logging.getLogger(__name__)

LARGEST = 32 * 2**20
"""The largest file in bytes: the 5 severities of 2,000 CIFAR pictures. Larger sets are generated for each model."""
FOLDER = "corrupted"


def load_or_make(
    key: str, shape: tuple[int, ...], make: Callable[[int], NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Pictures at severity 1 to 5 in turn, from a file of an earlier audit, or made and then stored.

    Args:
        key: names everything that the pictures depend on.
        shape: ``(5, N, C, H, W)``.
        make: the pictures at a severity, ``(N, C, H, W)``.
    """
    path = data_folder() / FOLDER / f"{key}.npy"
    if (stored := _load(path, shape)) is not None:
        yield from stored
        return
    keep = int(np.prod(shape)) <= LARGEST
    made = []
    for severity in SEVERITIES:
        pictures = make(severity)
        made += [pictures] if keep else []
        yield pictures
    if keep:
        _save(path, np.stack(made))


def _load(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        with open_regular(path) as file:
            stored = np.lib.format.read_array(file, allow_pickle=False)
    except Exception:  # none, or damaged, for which NumPy raises many types of errors: made again
        return None
    return stored if stored.dtype == np.uint8 and stored.shape == shape else None


def _save(path: Path, pictures: NDArray[np.uint8]) -> None:
    try:
        with write_atomically(path) as stream:
            np.save(stream, pictures, allow_pickle=False)
    except OSError as error:  # a folder that cannot be written costs time, no result
        logger.warning("generated corruptions are not stored in %s: %s", path.parent, error.strerror)
