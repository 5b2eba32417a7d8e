"""Which images: of the classes asked for, labelled by superclass, few ones nested, held-out ones balanced."""

import dataclasses

import pytest
import torch

from auditor.adapt.splits import few_targets, held_out_sources, held_out_targets, load_data, source_training
from auditor.errors import InputError, UsageError
from auditor.records.assignments import FASHION_MNIST
from tests.adapt.data import ASSIGNMENT, CLASSES, tiny

DATA = tiny()


def _names(labels: torch.Tensor, order: tuple[str, ...]) -> list[str]:
    return [order[label] for label in labels.tolist()]


def test_source_images_are_the_first_of_each_source_class() -> None:
    part = source_training(DATA, ASSIGNMENT, 4 * 5 + 3)
    assert len(part.labels) == 20
    assert _names(part.labels, ASSIGNMENT.sources) == _names(DATA.labels[part.numbers], CLASSES)
    assert torch.equal(part.images, DATA.images[part.numbers])
    first = [torch.nonzero(DATA.labels == CLASSES.index(name)).flatten()[:5] for name in ASSIGNMENT.sources]
    assert torch.equal(part.numbers, torch.cat(first))
    assert len(source_training(DATA, ASSIGNMENT, None).labels) == 4 * 24


@pytest.mark.parametrize("shots", [1, 5, 24])
def test_few_target_images_are_drawn_of_each_target_and_labelled_by_superclass(shots: int) -> None:
    part = few_targets(DATA, ASSIGNMENT, shots, seed=3)
    assert part.labels.tolist() == [0] * 2 * shots + [1] * shots
    drawn = _names(DATA.labels[part.numbers], CLASSES)
    assert {name: drawn.count(name) for name in ASSIGNMENT.targets} == {"a2": shots, "a4": shots, "b2": shots}
    assert len(set(part.numbers.tolist())) == 3 * shots
    assert torch.equal(part.images, DATA.images[part.numbers])


def test_fewer_shots_are_among_more_and_the_seed_decides() -> None:
    few, many = (set(few_targets(DATA, ASSIGNMENT, shots, seed=3).numbers.tolist()) for shots in (2, 9))
    assert few < many
    again = few_targets(DATA, ASSIGNMENT, 9, seed=3).numbers.tolist()
    assert set(again) == many
    assert set(few_targets(DATA, ASSIGNMENT, 9, seed=4).numbers.tolist()) != many


def test_fewer_images_than_shots_is_an_error() -> None:
    with pytest.raises(InputError, match="at least 25 training images of the target a2, got 24"):
        few_targets(DATA, ASSIGNMENT, 25, seed=0)


@pytest.mark.parametrize(("most", "each"), [(16, 8), (17, 8), (1000, 10)])
def test_held_out_targets_are_test_images_and_each_superclass_has_the_same_share(most: int, each: int) -> None:
    part = held_out_targets(DATA, ASSIGNMENT, most)
    assert part.labels.tolist() == [0] * each + [1] * each
    names = _names(DATA.test_labels[part.numbers - 1000], CLASSES)
    assert {name: names.count(name) for name in ASSIGNMENT.targets} == {"a2": each // 2, "a4": each // 2, "b2": each}
    assert torch.equal(part.images, DATA.test_images[part.numbers - 1000])


def test_held_out_sources_are_test_images_of_the_sources() -> None:
    part = held_out_sources(DATA, ASSIGNMENT, 12)
    assert _names(part.labels, ASSIGNMENT.sources) == _names(DATA.test_labels[part.numbers - 1000], CLASSES)
    assert len(part.labels) == 12


def test_a_class_without_images_is_an_error() -> None:
    kept = DATA.labels != CLASSES.index("b4")
    without = dataclasses.replace(DATA, images=DATA.images[kept], labels=DATA.labels[kept])
    with pytest.raises(InputError, match="expected images of b4, got none"):
        source_training(without, ASSIGNMENT, 100)


def test_an_unknown_data_set_is_an_error() -> None:
    with pytest.raises(UsageError, match="no data set named 'mnist'; expected one of: fashion_mnist, cifar10"):
        load_data("mnist")


@pytest.mark.long
def test_fashion_mnist_s_parts_share_no_image() -> None:
    data = load_data("fashion_mnist")
    assert (len(data.labels), len(data.test_labels)) == (55_000, 10_000)
    few, source = few_targets(data, FASHION_MNIST, 100, 0), source_training(data, FASHION_MNIST, 20_000)
    assert not set(few.numbers.tolist()) & set(source.numbers.tolist())
    held = held_out_targets(data, FASHION_MNIST, 1000)
    assert torch.bincount(data.test_labels[held.numbers]).tolist() == [0, 0, 0, 250, 0, 0, 250, 0, 0, 500]
