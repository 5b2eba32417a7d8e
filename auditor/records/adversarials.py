"""One saved adversarial image, as pages and figures show it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

AMPLIFIED = 10
"""Differences are drawn this many times as large as they are."""


@dataclass(frozen=True, kw_only=True)
class AdversarialSample:
    """One sample that an attack broke; the model classified its clean image correctly.

    Attributes:
        number: of the sample in its data set.
        label, predicted: the true class, and the class that the model predicts after the attack.
        attack: the first attack that broke the sample.
        adversarial: ``(C, H, W)`` in [0, 1].
        clean: the image before the attack; None in files that do not have it.
        distance: between the two in the audit's norm; NaN without the clean image.
    """

    number: int
    label: int
    predicted: int
    attack: str
    adversarial: "NDArray[Any]"
    clean: "NDArray[Any] | None"
    distance: float
