"""Signs that a run does not measure what it should: each is found on its kind, and ordinary runs have none."""

import pytest
import torch
from torch import Tensor

from auditor.attacks import evaluate_robustness
from auditor.attacks.wrong_data import check_images, check_predictions
from auditor.errors import InputError
from tests.factories.attacked_models import Linear

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(60, 1, 6, 6, generator=GENERATOR)
SETTINGS = {"norm": "Linf", "eps": 0.01, "protocol": "quick"}


def _logits(predicted: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(predicted, classes).float()


def _labels(n: int, classes: int) -> Tensor:
    return torch.arange(n) % classes


@pytest.mark.parametrize(
    ("images", "flags", "note"),
    [
        (IMAGES / 255, ["dark_images"], "the largest pixel is 0.0039, no more than 1/255"),
        (IMAGES.round() / 255, ["dark_images"], "no more than 1/255"),
        (IMAGES / 255 / 255, ["dark_images"], "the largest pixel is 0.0000"),
        (torch.zeros_like(IMAGES), ["dark_images", "equal_images"], "no more than 1/255"),
        (IMAGES / 16, [], "the largest pixel is 0.0625 of 1: is the scale of the pixels right?"),
        ((IMAGES * 16).floor() / 255, [], "is the scale of the pixels right?"),
        (IMAGES[:1].expand(60, -1, -1, -1), ["equal_images"], "all images are equal"),
        (IMAGES[:, :, :1, :1].expand(-1, -1, 6, 6), ["equal_images"], "or each is of one value"),
        (torch.full((30, 3, 4, 4), 0.5), ["equal_images"], "all images are equal"),
        (IMAGES[:1].expand(5, -1, -1, -1), [], "all images are equal"),
    ],
)
def test_images_that_cannot_be_meant(images: Tensor, flags: list[str], note: str) -> None:
    found, notes = check_images(images)
    assert found == flags
    assert note in notes[0]


@pytest.mark.parametrize("images", [IMAGES, IMAGES.round(), IMAGES[:1], 0.2 * IMAGES, IMAGES.double(), 1 - IMAGES])
def test_ordinary_images(images: Tensor) -> None:
    assert check_images(images) == ([], [])


def test_images_that_differ_in_one_pixel_are_not_equal() -> None:
    images = torch.full((40, 1, 4, 4), 0.5)
    images[:, 0, 0, 0] = torch.arange(40) / 40
    assert check_images(images) == ([], [])


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("n", [30, 64, 1000])
def test_labels_that_say_nothing(n: int, classes: int) -> None:
    """Half of what is right by chance, and a prediction that is always the same."""
    labels = _labels(n, classes)
    flags, notes = check_predictions(_logits((labels + 1 + labels % 2) % classes, classes), labels)
    assert "accuracy_at_chance" in flags
    assert "is no better than chance" in notes[0]
    flags, notes = check_predictions(_logits(torch.full((n,), 1), classes), labels)
    assert "accuracy_at_chance" in flags
    assert any("the model never predicts class 0" in note for note in notes) == (n >= 5 * classes)


def test_one_class_for_every_image_is_no_better_where_classes_are_uneven() -> None:
    labels = (torch.arange(60) < 20).long()
    flags, notes = check_predictions(_logits(torch.zeros(60, dtype=torch.int64), 2), labels)
    assert flags == ["accuracy_at_chance"]
    assert notes[0] == "clean accuracy 66.7 %: the model predicts class 0 for every image"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (lambda k: (k - 1) % 10, "with labels - 1 the clean accuracy would be"),
        (lambda k: (k + 1) % 10, "with labels + 1 the clean accuracy would be"),
        (lambda k: 9 - k, "with the classes in another order the clean accuracy would be 8"),
        (lambda k: (3 * k) % 10, "with the classes in another order"),
        (lambda k: torch.tensor([1, 0, 3, 2, 5, 4, 6, 7, 8, 9])[k], "with the classes in another order"),
    ],
)
@pytest.mark.parametrize("n", [60, 500])
def test_classes_in_another_order(order: object, words: str, n: int) -> None:
    labels = _labels(n, 10)
    predicted = torch.where(torch.arange(n) % 6 == 5, torch.zeros(n, dtype=torch.int64), order(labels))
    flags, notes = check_predictions(_logits(predicted, 10), labels)
    assert "labels_permuted" in flags
    assert any(note.startswith(words) for note in notes)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("n", "classes", "accuracy"), [(60, 10, 0.4), (256, 10, 0.9), (64, 2, 0.8), (500, 100, 0.3)])
def test_ordinary_models_are_never_flagged(n: int, classes: int, accuracy: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = _labels(n, classes)
    right = torch.rand(n, generator=generator) < accuracy
    guesses = torch.randint(classes, (n,), generator=generator)
    assert check_predictions(_logits(torch.where(right, labels, guesses), classes), labels)[0] == []


@pytest.mark.parametrize("seed", range(20))
def test_random_predictions_are_no_other_order(seed: int) -> None:
    labels = _labels(60, 10)
    guesses = torch.randint(10, (60,), generator=torch.Generator().manual_seed(seed))
    flags, notes = check_predictions(_logits(guesses, 10), labels)
    assert "labels_permuted" not in flags
    assert any("chance" in note for note in notes) == bool((guesses == labels).sum() < 10)


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (_labels(60, 9) + 1, "no sample has the label 0, of 10 classes"),
        (_labels(60, 3), "no sample has the label 3, 4, 5, 6, 7 and 2 others, of 10 classes"),
        (2 * _labels(60, 5), "no sample has the label 1, 3, 5, 7, 9, of 10 classes"),
    ],
)
def test_labels_that_never_occur(labels: Tensor, note: str) -> None:
    assert check_predictions(_logits(labels, 10), labels) == ([], [note])


def test_few_samples_are_not_judged() -> None:
    wrong = _labels(9, 10)
    assert check_predictions(_logits((wrong + 5) % 10, 10), wrong) == ([], [])
    flags, notes = check_predictions(_logits((_labels(20, 10) + 5) % 10, 10), _labels(20, 10))
    assert flags == []
    assert "is no better than chance" in notes[0]
    assert check_predictions(_logits(torch.zeros(8, dtype=torch.int64), 21_841), _labels(8, 9)) == ([], [])


def test_a_class_that_is_never_predicted() -> None:
    labels = _labels(100, 10)
    predicted = torch.where(labels == 6, torch.zeros_like(labels), labels)
    assert check_predictions(_logits(predicted, 10), labels) == (
        [],
        ["the model never predicts class 6, of 10 classes"],
    )


def test_a_robust_accuracy_carries_them() -> None:
    model = Linear(5)
    with torch.no_grad():
        labels = model(IMAGES).argmax(1)
    right = evaluate_robustness(model, IMAGES, labels, **SETTINGS)
    assert right.flags == []
    shifted = evaluate_robustness(model, IMAGES, (labels + 1) % 5, **SETTINGS)
    assert shifted.flags[:2] == ["accuracy_at_chance", "labels_permuted"]
    dark = evaluate_robustness(model, IMAGES / 255, labels, **SETTINGS)
    assert "dark_images" in dark.flags


@pytest.mark.parametrize("change", [lambda x: x * 1.0000002, lambda x: x - 1e-8, lambda x: (x - 0.5) * 1.0009 + 0.5])
def test_rounding_beyond_the_ends_is_clipped(change: object) -> None:
    model = Linear(5)
    images = IMAGES.clone()
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 1
    with torch.no_grad():
        labels = model(images).argmax(1)
    given = change(images)
    plain, found = (evaluate_robustness(model, x, labels, **SETTINGS) for x in (images, given))
    assert torch.equal(found.survived, plain.survived)
    assert any(note.startswith("pixels clipped to [0, 1]: values from") for note in found.notes)
    assert torch.equal(given, change(images))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES * 255, None, r"in \[0, 1\], got .* to 25.*: divide by 255"),
        (IMAGES * 2 - 1, None, "normalize inside the model"),
        ((IMAGES - 0.5) / 0.2, None, "normalize inside the model"),
        (torch.where(IMAGES > 0.5, torch.nan, IMAGES), None, "values NaN or infinite"),
        (IMAGES + 0.01, None, r"got .* to 1.00\d+: scale them"),
        (IMAGES, torch.eye(5)[_labels(60, 5)], r"got \(60, 5\) torch.float32: pass argmax\(1\) of one-hot labels"),
        (IMAGES, _labels(60, 5)[:, None], r"got \(60, 1\)"),
        (IMAGES, _labels(60, 5).float(), r"convert whole numbers to integers with .long\(\)"),
        (IMAGES, _labels(60, 5) + 1, "labels from 0 to 4, got 1 to 5: they seem to count from 1, subtract 1"),
        (IMAGES, _labels(60, 5) - 1, "labels from 0 to 4, got -1 to 3$"),
        (IMAGES[:, 0], None, r"expected images \(N, C, H, W\)"),
    ],
)
def test_images_and_labels_that_are_refused(images: Tensor, labels: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate_robustness(Linear(5), images, _labels(60, 5) if labels is None else labels, **SETTINGS)
    assert "\n" not in str(caught.value)
