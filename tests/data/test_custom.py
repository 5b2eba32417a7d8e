"""Data that users bring along: their images, classes and superclasses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auditor.data import check_images, hierarchy_of, load_images
from auditor.errors import DataError, UsageError
from auditor.records import CustomData, ZooEntry
from tests.data import layouts

CLASSES = ("oak", "elm", "rose")
OWN = CustomData(path=None, classes=CLASSES, levels=(("tree", "tree", "flower"), ("plant", "plant", "plant")))


def _entry(own: CustomData | None, dataset: str = "garden") -> ZooEntry:
    return ZooEntry(
        model="local:m", source="local", description="", architecture={}, preprocessing={}, dataset=dataset,
        threat_model="Linf", norm="Linf", eps=0.1, input_size=(3, 8, 8), own_data=own,
    )  # fmt: skip


def test_its_own_path_goes_before_the_one_that_was_asked_for(tmp_path: Path) -> None:
    pixels = layouts.random_pixels(6, 8, 8, 3)
    layouts.image_folder(tmp_path / "own", {name: pixels[k : k + 1] for k, name in enumerate(CLASSES)})
    np.savez(tmp_path / "asked.npz", images=pixels[3:], labels=np.arange(3))
    own, asked = replace(OWN, path=str(tmp_path / "own")), tmp_path / "asked.npz"
    first, other = load_images("garden", None, asked, custom=own), load_images("garden", None, asked, custom=OWN)
    assert np.array_equal(first.images, pixels[:3].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert np.array_equal(other.images, pixels[3:].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert first.name == "garden"
    check_images("garden", 3, custom=own)


def test_its_hierarchy_is_what_it_brings_along() -> None:
    found = hierarchy_of(_entry(OWN))
    assert (found.name, found.classes, found.levels, found.headline) == ("garden", CLASSES, OWN.levels, 0)
    assert found.superclasses == ("tree", "tree", "flower")
    assert hierarchy_of(_entry(replace(OWN, headline=1))).superclasses == ("plant",) * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (("tree", "tree"),)}, "garden: expected 3 superclasses, one a class, at level 0, got 2"),
        ({"levels": (OWN.levels[0], ("plant",) * 4)}, "at level 1, got 4"),
        ({"levels": ()}, "one level or more, got none"),
        ({"headline": 2}, "a headline level from 0 to 1, got 2"),
        ({"classes": ("oak", "elm", "oak")}, "expected 3 different classes, got 'oak' twice"),
    ],
)
def test_superclasses_that_do_not_cover_the_classes(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        hierarchy_of(_entry(replace(OWN, **change)))


def test_what_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"garden has no path to its images: .* --protocol screen"):
        check_images("garden", 5, custom=OWN)
    with pytest.raises(
        DataError, match=r"expected garden's test images in .*nowhere, which is no existing file or folder"
    ):
        check_images("garden", 5, custom=replace(OWN, path=str(tmp_path / "nowhere")))
    with pytest.raises(
        UsageError, match="local:m: no data set named 'garden'; expected one of: fashion_mnist, cifar10"
    ):
        hierarchy_of(_entry(None))
    with pytest.raises(DataError, match=r"one folder for each of 3 classes .*, named like 'oak', got no folders"):
        check_images("garden", 5, tmp_path, custom=OWN)


def test_a_known_data_sets_entry_has_its_hierarchy() -> None:
    assert hierarchy_of(_entry(None, "cifar10")).superclasses[:3] == ("vehicles", "vehicles", "animals")
