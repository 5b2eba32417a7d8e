"""CIFAR-10 and CIFAR-100 in torchvision's folders; torchvision also says the MD5 that each file must have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data import image_folder
from auditor.data.cifar_pickles import read_published
from auditor.data.downloads import data_folder, download
from auditor.data.samples import Arrays, Samples
from auditor.errors import DataError, first_line


def find(loader: str, classes: Sequence[str], place: Path | None, *, train: bool = False) -> Samples:
    """The test or training set: torchvision's files in ``place``, or an image folder there; for None, downloaded.

    Raises:
        DataError: the files are not found and cannot be downloaded, or they are not the published ones.
    """
    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    kind: Any = getattr(datasets, loader)
    files = _batches(kind, place or data_folder(), train)
    if files is None and place is not None:
        return image_folder.find(place, classes, usual=f"torchvision's folder {kind.base_folder}")
    if files is None:
        root = data_folder()
        download(  # the files only: torchvision's class would also unpickle them
            lambda: download_and_extract_archive(kind.url, str(root), filename=kind.filename, md5=kind.tgz_md5),
            loader,
            f"the folder {kind.base_folder} into {root}",
        )
        files = root / kind.base_folder
    return read_batches(kind, files, classes, train=train)


def _batches(kind: Any, place: Path, train: bool) -> Path | None:
    """The folder of the batches: torchvision's own in ``place``, or ``place`` itself."""
    (name, _), *_ = kind.train_list if train else kind.test_list
    return next((folder for folder in (place / kind.base_folder, place) if (folder / name).is_file()), None)


def read_batches(kind: Any, files: Path, classes: Sequence[str], *, train: bool) -> Arrays:
    """Check and read the batches of one set and the names of the classes; the other set may be missing.

    Args:
        kind: torchvision's class, which has the names of the published files and their MD5s.

    Raises:
        DataError: a file is missing, not the published one, or holds other values.
    """
    try:
        names = read_published(files / kind.meta["filename"], kind.meta["md5"]).get(kind.meta["key"])
        batches = [read_published(files / name, md5) for name, md5 in (kind.train_list if train else kind.test_list)]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{files} does not hold {kind.__name__}'s published {'training batches' if train else 'test batch'}, "
            f"a file is missing or its MD5 differs: "
            f"unpack {kind.filename} there again ({first_line(error)})"
        ) from error
    if names != list(classes):
        first = [name for name in names[:3] if isinstance(name, str)] if isinstance(names, list) else []
        raise DataError(f"{files} names classes that are not {kind.__name__}'s: {', '.join(first):.200}, …")
    parts = [_pictures(batch, files, len(classes)) for batch in batches]
    pixels, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Arrays(pixels, labels)


def _pictures(batch: Mapping[str, Any], files: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures ``(N, 3, 32, 32)`` of a batch and their labels ``(N,)``."""
    data, labels = batch.get("data"), batch.get("labels", batch.get("fine_labels"))
    if (
        not (isinstance(data, np.ndarray) and isinstance(labels, list))
        or data.shape != (len(labels), 3 * 32 * 32)
        or not all(isinstance(label, int) and 0 <= label < classes for label in labels)
    ):
        raise DataError(f"expected rows of {3 * 32 * 32} bytes, each with a label from 0 to {classes - 1}, in {files}")
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)
