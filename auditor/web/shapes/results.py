"""Results, their matrices, models and comparisons."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from auditor.records import AttackScore, ClusteringScores, Published, comparisons
from auditor.records.certificates import CertificateMethod
from auditor.records.matrices import MatrixKind
from auditor.records.results import ResultRow
from auditor.records.targeted import TargetedScore
from auditor.results import class_errors, curves
from auditor.results.corruptions import CorruptionAccuracy
from auditor.web.shapes import Next, Shape, Share, shape_of

Matrix = list[list[float | None]]


_SHARES = (
    "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "p_value", "screen_score",
    "claimed_clean_accuracy", "claimed_robust_accuracy", "certified_accuracy", "smoothed_certified_accuracy",
)  # fmt: skip
_ACCURACIES: dict[str, Any] = {
    "accuracy": Share,
    **dict.fromkeys(("low", "high"), Share | None),
    **dict.fromkeys(("severities", "lows", "highs"), list[Share]),
}
_NARROWER: dict[str, Any] = dict.fromkeys(_SHARES, Share | None)
_NARROWER |= dict.fromkeys(("started_at", "finished_at"), datetime | None)


class Result(shape_of(ResultRow, **_NARROWER)):  # type: ignore[misc]
    """A row of ``auditor results list``."""


_SCORES: dict[str, Any] = dict.fromkeys(
    ("intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "effective_rank", "tree_spearman", "gap_error"),
    float | None,
)


class Scores(shape_of(ClusteringScores, **_SCORES, p_value=Share | None, leaf_order=list[int])):  # type: ignore[misc]
    """The scores of one matrix; ``reasons`` say why a score is null."""

    matrix: Matrix | None
    pruned: bool


class Verdicts(Shape):
    """By sample: its index in the data set, whether it is classified correctly, and whether it survives all attacks.

    ``labels``: its true class; ``predicted``: its class after the attacks, of the adversarial image if one broke it;
    ``broken_at``: the position in ``attacks`` of the attack that broke it, or -1. Older audits have null.
    """

    indices: list[int]
    correct: list[bool]
    survived: list[bool]
    labels: list[int] | None
    predicted: list[int] | None
    broken_at: list[int] | None


class ScreeningDetail(Shape):
    """What the weights say of robustness; lengths in [0, 1] pixels. ``reasons`` say why a value is null."""

    score: Share | None
    margin: float | None
    local_gap: float | None
    gap: float | None
    data_margin: float | None
    statistics: dict[str, float | None]
    findings: list[str]
    reasons: dict[str, str]


_RATES: dict[str, Any] = dict.fromkeys(("robust_accuracy", "low", "high"), Share | None)


class ClassAccuracy(shape_of(class_errors.ClassAccuracy, **_RATES)):  # type: ignore[misc]
    """The samples of one class: how many there are, are correct, and survive; the interval of the robust accuracy."""


_ERRORS: dict[str, Any] = {
    **{one.name: Share | None for one in fields(class_errors.ClassErrors) if one.type is float},
    "classes": list[ClassAccuracy],
    "confusion": list[list[int]] | None,
    "attack_success": Scores | None,
}


class ClassErrors(shape_of(class_errors.ClassErrors, **_ERRORS)):  # type: ignore[misc]
    """What the attacks turned the samples into; docs/errors.md. ``reasons`` say why a value is null."""


class Targeted(shape_of(TargetedScore)):  # type: ignore[misc]
    """Of the correctly classified samples with a target in their superclass, or in another, those that became one."""

    within_rate: Share | None
    within_low: Share | None
    within_high: Share | None
    across_rate: Share | None
    across_low: Share | None
    across_high: Share | None


class Certificate(Shape):
    """What is proven of the samples: for bounds of this model, for smoothing of the smoothed model, another classifier.

    ``radii``: the certified L2 radius of each sample; null for bounds.
    """

    method: CertificateMethod
    parameters: dict[str, Any]
    certified: list[bool]
    accuracy: Share
    low: Share
    high: Share
    radii: list[float] | None
    clean_accuracy: Share | None
    abstained: Share | None


class Corruption(shape_of(CorruptionAccuracy, **_ACCURACIES)):  # type: ignore[misc]
    """The accuracy under one corruption, the mean over severity 1 to 5, and at each severity, with 95 % intervals.

    ``low`` and ``high`` are null where the verdicts were pruned. ``verdicts``: of each severity, one for each image.
    """

    n: int
    verdicts: list[list[bool]] | None


class CurvePoint(shape_of(curves.CurvePoint, **dict.fromkeys(("robust", "low", "high"), Share))):  # type: ignore[misc]
    """The robust accuracy at one radius, with Wilson's 95 % interval."""


class Curve(shape_of(curves.CurveSummary, points=list[CurvePoint])):  # type: ignore[misc]
    """The robust accuracy at every radius up to ``largest``, in [0, 1] pixels; docs/attacks.md.

    ``median``: the smallest radius with a robust accuracy of 50 % or less, null if it is larger than ``largest``;
    ``area``: under the curve, the mean critical radius. ``robust``, ``low``, ``high``: at ``radii``, with the ``band``
    of half width ``reach``. ``sizes``: of the nearest adversarial image by sample, null if none was found;
    ``found_by``: the attack that found it.
    """

    band: str
    radii: list[float]
    robust: list[Share]
    low: list[Share]
    high: list[Share]
    sizes: list[float | None]
    found_by: list[str | None]
    seconds: float


class CurveComparison(shape_of(comparisons.CurveComparison, p=Share)):  # type: ignore[misc]
    """Two curves on their shared samples: on how many each has the larger critical radius, and the sign test.

    ``area_difference``: of a minus b, with its 95 % interval; ``gap``: the largest difference, at the radius
    ``gap_at``.
    """


class ResultDetail(Result):
    """Everything that is stored about one audit."""

    description: str
    classes: list[str]
    superclasses: list[str]
    attacks: list[AttackScore]
    clusterings: dict[MatrixKind, Scores]
    screening: ScreeningDetail | None
    published: Published | None
    verdicts: Verdicts | None
    targeted: Targeted | None
    certificate: Certificate | None
    corruptions: list[Corruption] | None
    curve: Curve | None
    errors: ClassErrors | None


class Results(Shape):
    results: list[Result]
    next: Next


class MatrixShown(Shape):
    """``leaf_order``: the classes in dendrogram order."""

    kind: MatrixKind
    classes: list[str]
    superclasses: list[str]
    leaf_order: list[int]
    matrix: Matrix


class Model(Shape):
    model: str
    source: str
    description: str
    dataset: str
    architecture: dict[str, Any]
    training: dict[str, Any]
    audits: int


class Models(Shape):
    models: list[Model]
    next: Next


class ModelDetail(Model):
    """With its newest results."""

    results: list[Result]


_CERTIFIED: dict[str, Any] = dict.fromkeys(("certified_accuracy", "smoothed_certified_accuracy"), Share | None)


class Side(shape_of(comparisons.Side, **_CERTIFIED)):  # type: ignore[misc]
    pass


class Paired(shape_of(comparisons.PairedAccuracy, a=Share, b=Share, mcnemar_p=Share | None, p_value=Share)):  # type: ignore[misc]
    """How many samples both, one or none of the two get right; the difference is a minus b, with its 95 % interval.

    For the mean over corruptions there are no such counts, and ``test`` is a paired t-test instead of McNemar's.
    """


class ModelAt(shape_of(comparisons.ModelAt)):  # type: ignore[misc]
    pass


class Comparison(Shape):
    a: Side
    b: Side
    dataset: str
    protocol: str
    norm: str
    eps: float
    n: int
    robust: Paired
    clean: Paired
    curves: CurveComparison | None
    curves_obstacle: str | None
    more_robust: ModelAt | None
    verdict: str
