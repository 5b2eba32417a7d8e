"""Assignments: names as people write them, the presets, and one line for everything that makes no sense."""

import pytest

from auditor.data import CLASSES, load_hierarchy
from auditor.errors import UsageError
from auditor.records.assignments import CIFAR100, FASHION_MNIST, PRESETS, Assignment, find_preset

NAMES = CLASSES["fashion_mnist"]


def _parsed(superclasses: str, sources: str, targets: str) -> Assignment:
    return Assignment.parse("fashion_mnist", superclasses, sources, targets).resolved(NAMES)


def test_the_default_written_out() -> None:
    written = _parsed("tops | footwear", "t-shirt/TOP, pullover,coat | sandal, sneaker", "shirt, dress | Ankle_Boot")
    assert written == FASHION_MNIST
    assert written.sources == ("T-shirt/top", "pullover", "coat", "sandal", "sneaker")
    assert written.source_superclasses == ("tops",) * 3 + ("footwear",) * 2
    assert written.targets == ("shirt", "dress", "ankle boot")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_of_the_data_set_and_follow_its_hierarchy(name: str) -> None:
    preset = find_preset(name)
    classes = CLASSES[preset.dataset]
    assert preset.resolved(classes) == preset
    superclass = dict(zip(classes, load_hierarchy(preset.dataset, classes).superclasses, strict=True))
    for group in preset.superclasses:
        assert {superclass[member] for member in group.sources + group.targets} == {group.name}
        whole = sum(label == group.name for label in superclass.values())
        assert len(group.sources + group.targets) == whole


def test_leave_one_out_is_each_top_with_each_kind_of_footwear() -> None:
    others = [preset for name, preset in PRESETS.items() if name.startswith("fashion-mnist/")]
    assert len({preset.targets for preset in others}) == 15


def test_cifar_100_is_four_superclasses_of_four_sources_and_one_target() -> None:
    assert [(len(group.sources), len(group.targets)) for group in CIFAR100.superclasses] == [(4, 1)] * 4


@pytest.mark.parametrize(
    ("superclasses", "sources", "targets", "said"),
    [
        ("tops | footwear", "T-shirt | bag", "shirt | sneaker", "named 'T-shirt' .*did you mean .*T-shirt/top"),
        ("tops | footwear", "coat | sandals", "shirt | sneaker", "no class named 'sandals' .*did you mean sandal"),
        ("tops | footwear", "coat | zzz", "shirt | sneaker", "no class named 'zzz' in .*; expected one of: T-shirt"),
        ("tops | footwear", "coat | sandal", "coat | sneaker", "coat is both a source and a target class"),
        ("tops | footwear", "coat | sandal", "shirt | coat", "coat is both a source and a target class"),
        ("tops | footwear", "coat, coat | sandal", "shirt | sneaker", "coat is named twice"),
        ("tops | footwear", "coat, bag | sandal, bag", "shirt | sneaker", "bag is named twice"),
        ("tops | footwear", "coat |", "shirt | sneaker", "at least one source class of the superclass 'footwear'"),
        ("tops | footwear", "coat | sandal", " , | sneaker", "at least one target class of the superclass 'tops'"),
        ("tops", "coat", "shirt", "at least two superclasses, got 1"),
        ("tops | tops", "coat | sandal", "shirt | sneaker", "superclasses with different names, got tops, tops"),
        ("tops | footwear", "coat, sandal", "shirt | sneaker", "source classes of 2 superclasses, .*got 1"),
        ("tops | footwear", "coat | sandal", "shirt | sneaker | bag", "target classes of 2 superclasses, .*got 3"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(superclasses: str, sources: str, targets: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        _parsed(superclasses, sources, targets)
    assert "\n" not in str(error.value)


def test_an_unknown_preset_names_near_ones() -> None:
    with pytest.raises(UsageError, match=r"no assignment named 'cifar-100'; did you mean cifar100\?"):
        find_preset("cifar-100")
