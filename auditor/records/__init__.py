"""What travels between the rooms: frozen records, plain values and NumPy arrays only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
else:
    Matrix = Any  # commands that only read rows do without NumPy

METHOD_VERSION = 3
"""Part of every audit's identity: raised whenever the same model could get other numbers."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How a picture of any size becomes a model's input: resized, then cropped at its centre, in [0, 1] pixels.

    Attributes:
        channels: ``grey`` takes colours away, ``rgb`` keeps them; None as ``rgb``, where the model takes grey an error.
        resize: the shorter side in pixels, or both as (height, width); None leaves the size alone.
        crop: (height, width) of the centre crop; None takes all.
        interpolation: ``bilinear`` or ``bicubic``, as torchvision and timm spell it.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    channels: str | None = None


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """A data set that a user brings along.

    Attributes:
        path: an ImageFolder, or an .npz file of images and labels; None where only ``screen`` is wanted.
        classes: K names in the order of the logits.
        levels: superclass labels of the classes, K a level, the finest level first.
        headline: which of the levels the scores are about.
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
        architecture: a name and its arguments; ``preprocessing`` is what happens inside the model.
        dataset: the name of its data set, which also names its class hierarchy.
        own_data: where the data set is none of those that auditor knows.
        transform: how its data set's pictures become its input; None takes them as they are.
        threat_model: as RobustBench names it: ``Linf``, ``L2``, ``corruptions``.
        norm, eps: the norm ball it is audited under; ``eps`` in units of the [0, 1] pixels.
        file_sha256: of the weights' file, where it is known beforehand.
        training: how it was trained, for people and for plots; changes no number.
        place: the absolute folder of a local zoo, which tells its models from another one's of the same name.
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
    own_data: OwnData | None = None
    transform: Transform | None = None
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to measure on a model. ``device`` and ``batch_size`` are not part of an audit's identity.

    ``sketch``: estimate C from that many random images; None computes it.
    """

    protocol: str
    linearization: str = "remove"
    sketch: int | None = None
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 256


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """An audit and its images: the first ``samples``, all of them for None; ``data`` is where they lie.

    ``adversarials`` is a folder for the images that break a model; None keeps none.
    """

    audit: AuditRequest
    samples: int | None
    data: Path | None = None
    adversarials: Path | None = None


@dataclass(frozen=True)
class Estimate:
    """What an audit would cost: ``seconds``, ``seconds_at_most`` with a reserve, and ``memory`` in bytes."""

    seconds: float
    memory: int
    seconds_at_most: float = float("nan")


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
        renew_lease: renew the job's lease; False if the job belongs to another process now.
        load: what an earlier attempt saved under this key; None if there is nothing, or it has another key.
        save: store a state under a key for a later attempt, in place of the last one; an empty state says that the
            loaded one was of no use.
        stopped: called several times a second while a child process runs; raises when the task has to end.
    """

    progress: Progress = lambda *_: None
    needs_measuring: Callable[[str], bool] = lambda _: True
    renew_lease: Callable[[], bool] = lambda: True
    load: Callable[[str], bytes | None] = lambda _: None
    save: Callable[[str, bytes], None] = lambda *_: None
    stopped: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class ClusteringScores:
    """How strongly classes cluster along superclasses; see docs/method.md.

    Undefined statistics are NaN, and ``reasons`` says why by field name.

    Attributes:
        intra, inter: mean similarity of two classes in one superclass, and in two.
        gap: how much closer siblings are than strangers; the headline.
        silhouette, rand_index, cophenetic: of the superclasses and the average-linkage tree; from -1 to 1.
        p_value: one-sided, of the gap under shuffled superclass labels.
        effective_rank: of the matrix, from 1 to K.
        tree_spearman: rank correlation of tree distance and matrix distance, for several levels.
        leaf_order: the classes in dendrogram order.
        gap_error: standard error of the gap of a sketch; NaN, without a reason, where the matrix is exact.
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
    """One matrix ``(K, K)``, None where it has been pruned, and its scores.

    ``kind``: ``weights``, ``centred``, ``deflated`` or ``features``.
    """

    kind: str
    scores: ClusteringScores
    matrix: Matrix | None

    def whole(self) -> Matrix:
        """Raises UsageError: the matrix was pruned."""
        if self.matrix is None:
            raise UsageError(
                f"expected the matrix of the {self.kind}, got scores alone: it was pruned from the database; "
                "`auditor scan … --force` makes it again"
            )
        return self.matrix


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """One attack of a cascade: how many samples it was run on, how many it broke, and what then still stood."""

    attack: str
    parameters: dict[str, Any]
    n: int
    broken: int
    robust_accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Per-sample verdicts: indices in the data set's own order, whether clean, whether nothing broke it.

    ``pictures`` are digests of the data set's own pictures, before any transform, with their labels, ``(N,)``, by which
    two audits find the samples that they share; None where they were not taken.
    """

    indices: "NDArray[np.int64]"
    correct: "NDArray[np.bool_]"
    survived: "NDArray[np.bool_]"
    pictures: "NDArray[np.uint64] | None" = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was published of a model. Accuracies are fractions from 0 to 1; None where there is no such figure.

    Attributes:
        model: its name, ``source:id``.
        norm, eps: the threat model of the robust accuracies, in [0, 1] pixels; None for common corruptions.
        autoattack_accuracy: under AutoAttack; ``external_accuracy``: under a better attack of other people.
        corruptions_accuracy: under common corruptions, which say nothing of a norm ball.
        unreliable: the publisher says that AutoAttack's figure is not to be relied on.
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
        """The claim: the lowest accuracy that any attack left."""
        figures = [x for x in (self.autoattack_accuracy, self.external_accuracy) if x is not None]
        return min(figures) if self.norm is not None and figures else None


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """What one audit found. Accuracies are fractions from 0 to 1; NaN where a part was not measured.

    ``sketch``: from how many random images the matrices of the weights are estimated; None where they are exact.
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
    attacks: tuple[AttackScore, ...] = ()
    verdicts: Verdicts | None = None
    images_sha256: str | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    not_measurable: tuple[str, ...] = ()
    seconds: float = 0.0
    device: str = "cpu"
    batch_size: int = 0
    versions: dict[str, str] = field(default_factory=dict)
