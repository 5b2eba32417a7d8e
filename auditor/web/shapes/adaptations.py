"""The shapes of adaptations."""

from auditor.records import adaptations
from auditor.web.shapes import Next, Shape, Share, shape_of
from auditor.web.shapes.jobs import TrainingJob

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


class Adaptation(TrainingJob):
    """An adaptation. `model` is a recipe of the source model, or a model of a zoo; `result` is null until it is done.

    `request` holds what decides its numbers: classes, recipe, tuning, numbers of target images (`shots`) and seeds.
    """

    request: adaptations.AdaptRequest
    device: str
    result: AdaptationResult | None


class Adaptations(Shape):
    adaptations: list[Adaptation]
    next: Next
