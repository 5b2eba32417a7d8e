"""The shapes of adaptations."""

from datetime import datetime
from typing import Literal

from auditor.records import adaptations
from auditor.web.shapes import Next, Shape, Share, shape_of

_SHARES = dict.fromkeys(("clean", "robust", "low", "high"), Share)


class Accuracy(shape_of(adaptations.Accuracy, **_SHARES)):  # type: ignore[misc]
    """The shares of `n` test images: clean, robust, and the 95 % interval of robust."""


class AdaptScore(shape_of(adaptations.AdaptScore, adapted=Accuracy, baseline=Accuracy | None)):  # type: ignore[misc]
    """One adapted model: superclass accuracy on held-out images of the target classes.

    `baseline` is the accuracy of the nearest mean of pixels, with the same images; null for 0 images.
    """


class SourceScore(shape_of(adaptations.SourceScore, accuracy=Accuracy)):  # type: ignore[misc]
    """The source model of a seed: its accuracy on held-out images of its own classes."""


class AdaptationResult(Shape):
    """A score for each seed and number of target images, and one for each source model."""

    scores: list[AdaptScore]
    sources: list[SourceScore]
    data_sha256: list[str]
    notes: list[str]


class Adaptation(Shape):
    """An adaptation. `model` is a recipe of the source model, or a model of a zoo; `result` is null until it is done.

    `request` holds what decides its numbers: classes, recipe, tuning, numbers of target images (`shots`) and seeds.
    """

    id: int
    model: str
    state: Literal["done", "failed", "cancelled", "queued", "running", "cancelling"]
    queue: str
    attempt: int
    losses: int
    worker: str | None
    silent_since: datetime | None
    unserved: bool
    reason: str | None
    request: adaptations.AdaptRequest
    device: str
    result: AdaptationResult | None
    part: str | None
    part_done: int | None
    part_total: int | None
    seconds: float | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Adaptations(Shape):
    adaptations: list[Adaptation]
    next: Next
