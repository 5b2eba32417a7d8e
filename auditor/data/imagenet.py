"""ImageNet (ILSVRC 2012): RobustBench's 5,000 validation pictures, in the order of its list."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auditor.data import image_folder
from auditor.data.downloads import data_folder
from auditor.data.hierarchies import outline_of
from auditor.data.installed import package_file
from auditor.data.samples import Pictures, Samples
from auditor.errors import DataError

_LEAVES = outline_of("imagenet").leaves
SYNSETS = tuple(_LEAVES)
"""WordNet ids in the order of the labels, which is the order of the ids."""
CLASSES = tuple(_LEAVES.values())
EXPECTED = "a folder of ImageNet's validation pictures, with one folder a class such as n01440764, or an .npz file"


def find_training(place: Path | None) -> Samples:
    """An image folder of training pictures, which must fit into memory when decoded.

    Raises:
        DataError: ``place`` holds no such folder.
    """
    if place is None:
        raise DataError(
            "ImageNet's training pictures have no default location: pass --data PATH, one folder for each class"
        )
    return image_folder.find(place, SYNSETS)


def find(place: Path | None, samples: int | None) -> Samples:
    """The first ``samples`` pictures of the list in ``place``, its ``val`` or its ``imagenet``; no picture is opened.

    Raises:
        DataError: robustbench, whose package holds the list, is not installed, or pictures are missing.
    """
    folder = place or data_folder()
    inside = (folder, folder / "imagenet")
    found = next((found for spot in inside if (found := image_folder.locate(spot, SYNSETS, CLASSES))), None)
    if found is None and place is None:
        raise DataError(f"ImageNet cannot be downloaded and is not in {folder}: pass --data PATH, {EXPECTED}")
    if found is None:
        raise DataError(
            f"expected {EXPECTED}, got {folder}, in which no folder (nor in its val) has the name of a class"
        )
    names, labels = robustbench_list()
    paths = [
        found.folders.get(label, found.root / SYNSETS[label]) / name.split("/")[1]
        for name, label in zip(names[:samples], labels[:samples], strict=True)
    ]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the first {len(paths)} pictures of RobustBench's list are not in {found.root}, "
            f"the first is {missing[0].relative_to(found.root)}"
        )
    return Pictures(tuple(paths), np.array(labels[: len(paths)], np.int64), grey=False)


def robustbench_list() -> tuple[Sequence[str], Sequence[int]]:
    """The 5,000 pictures as ``synset/file``, and their labels.

    Raises:
        DataError: robustbench is not installed, or its list is not the expected one.
    """
    names = package_file("robustbench", "helper_files/imagenet_test_image_ids.txt").read_text().split()
    numbers = json.loads(package_file("robustbench", "helper_files/imagenet_class_to_id_map.json").read_text())
    if [synset for synset, _ in sorted(numbers.items(), key=lambda item: item[1])] != list(SYNSETS):
        raise DataError(
            "robustbench's numbers of ImageNet's classes are not the usual ones: pip install 'auditor[zoos]'"
        )
    return names, [numbers[name.split("/")[0]] for name in names]
