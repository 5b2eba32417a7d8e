"""Tiny ImageNet (Le and Yang, 2015): 200 of ImageNet's classes at 64 x 64, as folders of pictures."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from auditor.data import image_folder
from auditor.data.downloads import data_folder
from auditor.data.hierarchies import outline_of
from auditor.data.samples import Pictures, Samples
from auditor.errors import DataError, first_line
from auditor.files import read_limited

_LEAVES = outline_of("tiny_imagenet").leaves
SYNSETS = tuple(_LEAVES)
"""WordNet ids in the order of the labels, which is the order of the ids, as torchvision's ImageFolder numbers them."""
CLASSES = tuple(_LEAVES.values())
FOLDER = "tiny-imagenet-200"
ANNOTATIONS = "val_annotations.txt"
LARGEST = 1 << 24
"""Bytes of the largest file of annotations that is read; the published one has far less than a million."""


def find(place: Path | None, samples: int | None) -> Samples:  # noqa: ARG001
    """The 10,000 validation pictures, because the labels of the test pictures are not published; classes alternate.

    Raises:
        DataError: the folder is not found, or pictures or labels are missing.
    """
    root = _root(place)
    if root is None or not (root / "val" / ANNOTATIONS).is_file():
        return _image_folder(place)
    return read_annotations(root / "val" / ANNOTATIONS)


def read_annotations(file: Path) -> Pictures:
    """The pictures that a file of annotations names, in the folder ``images`` beside it; classes alternate.

    Raises:
        DataError: the file is no such file, or names no pictures of a class or a picture that is missing.
    """
    pictures: list[list[Path]] = [[] for _ in SYNSETS]
    number = {synset: k for k, synset in enumerate(SYNSETS)}
    try:
        for line in read_limited(file, LARGEST).decode().splitlines():
            name, synset, *_ = line.split("\t")
            pictures[number[synset]].append(file.parent / "images" / Path(name).name)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected lines `picture, tab, WordNet id, …` in {file}: {first_line(error)}") from error
    return _alternating(pictures, file)


def find_training(place: Path | None) -> Samples:
    """The 100,000 training pictures, 500 of each class; classes alternate. Errors as :func:`find`."""
    root = _root(place)
    if root is None or not (root / "train" / SYNSETS[0] / "images").is_dir():
        return _image_folder(place)
    folders = [root / "train" / synset / "images" for synset in SYNSETS]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise DataError(f"{len(missing)} of 200 class folders are missing, the first is {missing[0]}")
    return _alternating([sorted(folder.glob("*.JPEG")) for folder in folders], root / "train")


def _root(place: Path | None) -> Path | None:
    folder = place or data_folder()
    return next((spot for spot in (folder / FOLDER, folder) if (spot / "train").is_dir() or _has_val(spot)), None)


def _has_val(spot: Path) -> bool:
    return (spot / "val" / ANNOTATIONS).is_file()


def _image_folder(place: Path | None) -> Samples:
    if place is None:
        raise DataError(
            f"Tiny ImageNet is not downloaded: put the folder {FOLDER} into {data_folder()}, or pass --data PATH"
        )
    return image_folder.find(place, SYNSETS, usual=f"Tiny ImageNet's folder {FOLDER}")


def _alternating(pictures: Sequence[Sequence[Path]], where: Path) -> Pictures:
    """One picture of each class after the other, so that every prefix is balanced."""
    empty = [synset for synset, found in zip(SYNSETS, pictures, strict=True) if not found]
    if empty:
        raise DataError(f"expected pictures of each of 200 classes in {where}, got none of {', '.join(empty[:3])}")
    each = [[(path, number) for path in found] for number, found in enumerate(pictures)]
    turns = [sample for turn in zip_longest(*each) for sample in turn if sample is not None]
    missing = next((path for path, _ in turns if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"expected the picture {missing}, which {where} names: it is missing")
    return Pictures(tuple(path for path, _ in turns), np.array([number for _, number in turns], np.int64), grey=False)
