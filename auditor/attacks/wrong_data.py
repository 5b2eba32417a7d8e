"""Images, labels and predictions compared: signs that the data, the labels or the preprocessing are wrong."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom
from torch import Tensor

from auditor.attacks.flags import Finding
from auditor.errors import InputError

LEVEL = 1 / 255
DARK = 0.1
FEW, TOO_FEW = 30, 10
"""With fewer samples than the first no accuracy is flagged; with fewer than the second there is no note either."""
NOT_CLEAR = 0.05
OTHER_ORDER, OTHER_ORDER_GAIN = 0.5, 0.3
"""The accuracy under another order of the classes that makes a note, and its minimum gain over the given order."""
PER_CLASS = 5
MOST_CLASSES = 2000
"""With more classes no other order is searched."""


def check_data(images: Tensor, logits: Tensor, labels: Tensor) -> Finding:
    """All findings on images ``(N, C, H, W)``, their logits ``(N, K)`` and labels ``(N,)``.

    Raises:
        InputError: a label is not from 0 to K - 1.
    """
    low, high, classes = int(labels.min()), int(labels.max()), logits.shape[1]
    if low < 0 or high >= classes:
        advice = ": they seem to count from 1, subtract 1" if low == 1 and high == classes else ""
        raise InputError(f"expected labels from 0 to {classes - 1}, got {low} to {high}{advice}")
    parts = check_images(images), check_predictions(logits, labels)
    return [flag for flags, _ in parts for flag in flags], [note for _, notes in parts for note in notes]


def check_images(images: Tensor) -> Finding:
    """``dark_images`` and ``equal_images`` among images ``(N, C, H, W)`` in [0, 1]."""
    flags, notes = [], []
    brightest = images.max().item()
    if brightest <= 1.5 * LEVEL:
        flags.append("dark_images")
        notes.append(
            f"the largest pixel is {brightest:.4f}, no more than 1/255: were pixels divided by 255 twice, "
            "or 0 and 1 stored as bytes?"
        )
    elif brightest < DARK:
        notes.append(f"the largest pixel is {brightest:.4f} of 1: is the scale of the pixels right?")
    if len(images) > 1 and (_are_blank(images) or _are_equal(images)):
        flags += ["equal_images"] if len(images) >= FEW else []
        notes.append("all images are equal, or each is of one value: nothing tells the classes apart")
    return flags, notes


def check_predictions(logits: Tensor, labels: Tensor) -> Finding:
    """``accuracy_at_chance`` and ``labels_permuted`` from logits ``(N, K)`` and labels ``(N,)`` from 0 to K - 1."""
    predicted, labels, classes = logits.argmax(1).cpu(), labels.cpu(), logits.shape[1]
    flags, notes = _chance(predicted, labels, classes)
    reordered = _order(predicted, labels, classes)
    if reordered:
        flags += ["labels_permuted"] if len(labels) >= FEW else []
        notes.append(reordered)
    return flags, notes + _unseen(predicted, labels, classes)


def _are_blank(images: Tensor) -> bool:
    return all(bool((image == image[:, :1, :1]).all()) for image in images)


def _are_equal(images: Tensor) -> bool:
    return all(torch.equal(image, images[0]) for image in images[1:])


def _chance(predicted: Tensor, labels: Tensor, classes: int) -> Finding:
    """``accuracy_at_chance``: the model is no better than guessing one of K classes, or predicts one class only."""
    n, correct = len(labels), int((predicted == labels).sum())
    note = f"clean accuracy {100 * correct / n:.1f} %"
    if n < TOO_FEW:
        return [], []
    if correct * classes <= n:
        note += f" is no better than chance, 1 of {classes} classes: check labels, pixels and normalization"
    elif (predicted == predicted[0]).all() and (labels != labels[0]).any():
        note += f": the model predicts class {int(predicted[0])} for every image"
    elif binom.sf(correct - 1, n, 1 / classes) > NOT_CLEAR:
        return [], [f"{note} of {n} images is not clearly above chance, 1 of {classes} classes"]
    else:
        return [], []
    return ["accuracy_at_chance"] if n >= FEW else [], [note]


def _order(predicted: Tensor, labels: Tensor, classes: int) -> str | None:
    """A note if labels shifted by one, or classes in another order, would fit far better; else None."""
    n, correct = len(labels), int((predicted == labels).sum())

    def is_far_better(count: int) -> bool:
        return n >= TOO_FEW and count >= OTHER_ORDER * n and count - correct >= OTHER_ORDER_GAIN * n

    for shift, words in ((1, "labels - 1"), (-1, "labels + 1")):
        count = int((predicted == labels - shift).sum())
        if is_far_better(count):
            return f"with {words} the clean accuracy would be {100 * count / n:.1f} %: do the labels count from 0?"
    if PER_CLASS * classes <= n and classes <= MOST_CLASSES:
        confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).numpy()
        count = int(confusion[linear_sum_assignment(confusion, maximize=True)].sum())
        if is_far_better(count):
            return (
                f"with the classes in another order the clean accuracy would be {100 * count / n:.1f} %: "
                "are they in the order of the logits?"
            )
    return None


def _unseen(predicted: Tensor, labels: Tensor, classes: int) -> list[str]:
    """Notes on classes that never occur among the labels, or that occur but are never predicted."""
    notes = []
    occurring, predictions = (torch.bincount(numbers, minlength=classes) for numbers in (labels, predicted))
    absent = (occurring == 0).nonzero().flatten().tolist()
    missed = ((occurring >= PER_CLASS) & (predictions == 0)).nonzero().flatten().tolist()
    if absent and len(labels) >= 2 * classes:
        notes.append(f"no sample has the label {_few(absent)}, of {classes} classes")
    if missed:
        notes.append(f"the model never predicts class {_few(missed)}, of {classes} classes")
    return notes


def _few(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - 5} others" if len(numbers) > 5 else ""
    return ", ".join(map(str, numbers[:5])) + more
