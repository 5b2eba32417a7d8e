"""The data that packages exchange: frozen records of plain values and NumPy arrays."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auditor.errors import UsageError
from auditor.records.certificates import CERTIFIED_NORMS, Certificate, CertificateMethod
from auditor.records.corruptions import CorruptionScore, is_corruptions, protocol_under
from auditor.records.curves import Curve
from auditor.records.extra_attacks import ExtraAttacks
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
class Transform:
    """How a picture of any size becomes a model's input: resized, then cropped at its centre, in [0, 1] pixels.

    Attributes:
        channels: ``grey`` removes colours, ``rgb`` keeps them; for None colours are an error if the model takes grey.
        resize: the shorter side in pixels, or both as (height, width); None keeps the size.
        crop: (height, width) of the centre crop; None keeps all.
        interpolation: one of Pillow's filters: ``bilinear``, ``bicubic``, ``lanczos``, ``nearest``, ``box``,
            ``hamming``.
        crop_at: where the crop begins if half a pixel is left over: ``round`` as in torchvision and timm, ``floor`` as
            in transformers.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    channels: str | None = None
    crop_at: str = "round"


@dataclass(frozen=True, kw_only=True)
class CustomData:
    """A custom data set, which a zoo.toml describes.

    Attributes:
        path: an image folder, or an .npz file of images and labels; None is enough for the protocol ``screen``.
        classes: K names in the order of the logits.
        levels: K superclass labels for each level, the finest level first.
        headline: the level of the scores.
    """

    path: str | None
    classes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    headline: int = 0


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One model of a zoo, before it is loaded.

    Attributes:
        model: its name, ``source:id``.
        architecture: a name and its arguments.
        preprocessing: the normalization inside the model.
        dataset: the name of its data set, which also names its class hierarchy.
        own_data: the custom data set; None for a known one. The name is part of stored JSON.
        transform: how the pictures of its data set become its input; None leaves them unchanged.
        threat_model: its name, as in RobustBench: ``Linf``, ``L2``, ``corruptions``.
        norm, eps: the norm ball of its audits; ``eps`` in units of the [0, 1] pixels. For audits under common
            corruptions a name of :data:`auditor.records.corruptions.NAMES`, and 0.
        file_sha256: the digest of the weight file, if it is known before loading.
        training: how the model was trained, for people and plots; has no effect on numbers.
        place: the absolute folder of a local zoo, which distinguishes its models from those of another local zoo.
    """

    model: str
    source: str
    description: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    dataset: str
    threat_model: str
    norm: str
    eps: float
    input_size: tuple[int, int, int]
    file_sha256: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    own_data: CustomData | None = None
    transform: Transform | None = None
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to measure on a model. Devices and batch sizes are not part of an audit's identity.

    ``sketch``: the number of random images from which C is estimated; None computes C exactly.
    ``triage``: a screening score from 0 to 1 from which models are attacked, and a random tenth of the others; None
    attacks all. It decides what is measured, and is not part of an audit's identity.
    ``targeted``: ``superclass`` also attacks towards classes inside and outside of the own superclass; None does not.
    ``curve``: also search for the smallest perturbation of each sample.
    ``stop_at``: the attacks stop once the robust accuracy is decided to be above or below this share; None attacks all.
    ``stop_on_regression``: the attacks stop once it is decided whether fewer images survive than in the last result.
    ``tests``: the number of models about which early answers are given: the 5 % hold for all answers together.
    ``extra_attacks``: run after those of the protocol; None runs none.
    ``certify``: also measure a lower bound, by ``bounds`` or ``smoothing``, whose noise has the standard deviation
    ``sigma``; None for half of eps.
    ``mixed_precision``: the search of protocol strong takes its gradients in bfloat16; float32 confirms what it breaks.
    ``measure_batch``: on a GPU, the batch size is measured instead, if the protocol's verdicts do not depend on it.
    """

    protocol: str
    linearization: str = "remove"
    sketch: int | None = None
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 256
    triage: float | None = None
    targeted: Literal["superclass"] | None = None
    stop_at: float | None = None
    curve: bool = False
    certify: CertificateMethod | None = None
    sigma: float | None = None
    stop_on_regression: bool = False
    tests: int = 1
    extra_attacks: ExtraAttacks | None = None
    mixed_precision: bool = False
    measure_batch: bool = False

    @property
    def may_stop(self) -> bool:
        """Whether the attacks may stop before all images are attacked."""
        return self.stop_at is not None or self.stop_on_regression

    @property
    def complete(self) -> "AuditRequest":
        """The same request for all images; its result also answers a gate that may stop early."""
        return replace(self, stop_at=None, stop_on_regression=False, tests=1)

    def without_attacks(self, protocol: str) -> "AuditRequest":
        """The same request under a protocol, without all that needs attacks."""
        return replace(
            self.complete,
            protocol=protocol,
            targeted=None,
            curve=False,
            extra_attacks=None,
            certify=None,
            sigma=None,
            mixed_precision=False,
        )

    def under(self, norm: str) -> "AuditRequest":
        """What of the request has a meaning in a norm, or under corruptions, which no attack makes."""
        if is_corruptions(norm):
            return replace(self.without_attacks(protocol_under(self.protocol, norm)), triage=None)
        if self.certify is not None and norm not in CERTIFIED_NORMS[self.certify]:
            return replace(self, certify=None, sigma=None)
        return self


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """An audit and its images: the first ``samples`` from ``data``, all of them for None.

    ``or_fewer``: use a smaller data set whole instead of refusing it, because the number of samples is a default.
    ``adversarials`` is a folder for adversarial images; None stores none.
    """

    audit: AuditRequest
    samples: int | None
    or_fewer: bool = False
    data: Path | None = None
    adversarials: Path | None = None

    def under(self, norm: str) -> "Measurement":
        """What of it has a meaning in a norm, or under corruptions: see :meth:`AuditRequest.under`."""
        adversarials = None if is_corruptions(norm) else self.adversarials
        return replace(self, audit=self.audit.under(norm), adversarials=adversarials)


@dataclass(frozen=True)
class Estimate:
    """The cost of an audit: ``seconds``, ``seconds_at_most`` with a reserve, and ``memory`` in bytes.

    ``screened_only`` says why a triage attacks no image of the model; it is empty if the model is attacked.
    ``notes`` are what a reader of the results should know about the images.
    """

    seconds: float
    memory: int
    seconds_at_most: float = float("nan")
    screened_only: str = ""
    notes: tuple[str, ...] = ()


LOCAL_QUEUE = "here"
"""The stored queue name of jobs that no worker runs, but the process that made them."""

Progress = Callable[[str, int, int], None]
"""Told the part of an audit that is under way, how far it is, and of how much."""


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """The connection of a running task to its job. Whatever these functions raise ends the task.

    Attributes:
        progress: report the part of the task that runs now, how much of it is done, and of how much.
        needs_measuring: whether an audit of this identity has to be measured; called once the model is loaded.
        earlier: the ID and the verdicts of the model's last complete result under the same setting; None without one.
        models: the number of models of the scan.
        renew_lease: renew the job's lease; False if the job belongs to another process now.
        load: what an earlier attempt saved under this key; None if there is nothing, or it has another key.
        save: store a state under a key for a later attempt, in place of the last one; an empty state says that the
            loaded one was of no use.
        stopped: called several times a second while a child process runs; raises when the task has to end.
    """

    progress: Progress = lambda *_: None
    needs_measuring: Callable[[str], bool] = lambda _: True
    earlier: "Callable[[], tuple[int, Verdicts] | None]" = lambda: None
    models: Callable[[], int] = lambda: 1
    renew_lease: Callable[[], bool] = lambda: True
    load: Callable[[str], bytes | None] = lambda _: None
    save: Callable[[str, bytes], None] = lambda *_: None
    stopped: Callable[[], None] = lambda: None


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
class Published:
    """The published figures of a model. Accuracies are fractions from 0 to 1; None if a figure was not published.

    Attributes:
        model: its name, ``source:id``.
        norm, eps: the threat model of the robust accuracies, in [0, 1] pixels; None for common corruptions.
        autoattack_accuracy: accuracy under AutoAttack.
        external_accuracy: accuracy under a stronger attack by others.
        corruptions_accuracy: accuracy under common corruptions, which is no accuracy in a norm ball.
        unreliable: whether the publisher marks AutoAttack's figure as unreliable.
    """

    model: str
    norm: str | None = None
    eps: float | None = None
    clean_accuracy: float | None = None
    autoattack_accuracy: float | None = None
    external_accuracy: float | None = None
    corruptions_accuracy: float | None = None
    unreliable: bool = False
    architecture: str | None = None
    paper: str | None = None
    venue: str | None = None
    link: str | None = None

    @property
    def robust_accuracy(self) -> float | None:
        """The lowest published accuracy under any attack."""
        figures = [x for x in (self.autoattack_accuracy, self.external_accuracy) if x is not None]
        return min(figures) if self.norm is not None and figures else None


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
