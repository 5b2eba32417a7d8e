"""The result of an audit: clustering scores, attacks, verdicts, and the record that holds them all."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError
from auditor.records.certificates import Certificate
from auditor.records.corruptions import CorruptionScore
from auditor.records.curves import Curve
from auditor.records.entries import ZooEntry
from auditor.records.screening import Screening
from auditor.records.targeted import TargetedScore
from auditor.records.templates import Templates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
else:
    Matrix = Any  # commands that only read rows do not import NumPy


METHOD_VERSION = 4
"""Part of every audit's identity; increased whenever the same model could get other numbers."""

STOPPED_SAMPLES = -1
"""In place of the number of samples of such a result: it is of a series of its own and replaces no complete one."""

STOPPED_EARLY = "stopped_early"
"""The flag of a result on fewer images than its protocol's, because its gate was decided early."""


@dataclass(frozen=True, kw_only=True)
class ClusteringScores:
    """How strongly classes cluster along superclasses; see docs/method.md.

    Undefined statistics are NaN, with the reason in ``reasons`` by field name.

    Attributes:
        intra, inter: mean similarity of two classes in the same superclass, and in different ones.
        gap: how much closer siblings are than strangers; the main score.
        silhouette, rand_index, cophenetic: scores of the superclasses and the average-linkage tree, from -1 to 1.
        p_value: one-sided p-value of the gap under shuffled superclass labels.
        effective_rank: the effective rank of the matrix, from 1 to K.
        tree_spearman: rank correlation of tree distance and matrix distance, for several levels.
        leaf_order: the classes in dendrogram order.
        gap_error: standard error of the gap of a sketch; NaN without a reason if the matrix is exact.
    """

    intra: float
    inter: float
    gap: float
    silhouette: float
    rand_index: float
    cophenetic: float
    p_value: float
    effective_rank: float
    leaf_order: tuple[int, ...]
    tree_spearman: float = float("nan")
    gap_error: float = float("nan")
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """One matrix ``(K, K)``, None if it was pruned, and its scores.

    ``kind``: ``weights``, ``centred``, ``deflated`` or ``features``.
    """

    kind: str
    scores: ClusteringScores
    matrix: Matrix | None

    def full_matrix(self) -> Matrix:
        """The matrix; raises UsageError if it was pruned."""
        if self.matrix is None:
            raise UsageError(
                f"expected the matrix of the {self.kind}, got scores alone: it was pruned from the database; "
                "`auditor scan … --force` measures it again"
            )
        return self.matrix


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """One attack of a cascade: the number of its samples, how many it broke, and the robust accuracy after it."""

    attack: str
    parameters: dict[str, Any]
    n: int
    broken: int
    robust_accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Per-sample verdicts: the index in the data set, whether the clean image is correct, whether no attack broke it.

    Attributes:
        pictures: digests ``(N,)`` of the pictures before any transform and their labels, by which two audits find the
            samples that they share; None if they were not computed.
        labels: the true classes ``(N,)``.
        predicted: the classes ``(N,)`` after the attacks: of the adversarial image that broke the sample, of the clean
            image if none did.
        broken_at: ``(N,)``, the position of the attack that broke the sample among the attacks of the audit; -1 if
            none did. ``labels``, ``predicted`` and ``broken_at`` are None in audits that an older auditor made.
    """

    indices: "NDArray[np.int64]"
    correct: "NDArray[np.bool_]"
    survived: "NDArray[np.bool_]"
    pictures: "NDArray[np.uint64] | None" = None
    labels: "NDArray[np.int64] | None" = None
    predicted: "NDArray[np.int64] | None" = None
    broken_at: "NDArray[np.int64] | None" = None


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """The result of one audit. Accuracies are fractions from 0 to 1; NaN if a part was not measured.

    ``sketch``: the number of random images from which the matrices of the weights are estimated; None if exact.
    ``templates``: their pictures, of at most two kinds. ``adversarials``: the file of the images that broke samples.
    ``extra_attacks``: the label of the attacks beyond the protocol's; None without any.
    """

    entry: ZooEntry
    identity: str
    protocol: str
    parameters: dict[str, Any]
    linearization: str
    hierarchy: str
    seed: int
    weights_sha256: str
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    sketch: int | None = None
    n: int = 0
    clean_accuracy: float = float("nan")
    robust_accuracy: float = float("nan")
    robust_low: float = float("nan")
    robust_high: float = float("nan")
    affinity_error: float = float("nan")
    clusterings: tuple[Clustering, ...] = ()
    screening: Screening | None = None
    templates: tuple[Templates, ...] = ()
    attacks: tuple[AttackScore, ...] = ()
    verdicts: Verdicts | None = None
    targeted: TargetedScore | None = None
    certificate: Certificate | None = None
    corruptions: tuple[CorruptionScore, ...] = ()
    curve: Curve | None = None
    images_sha256: str | None = None
    adversarials: str | None = None
    extra_attacks: str | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    not_measurable: tuple[str, ...] = ()
    seconds: float = 0.0
    device: str = "cpu"
    batch_size: int = 0
    versions: dict[str, str] = field(default_factory=dict)
