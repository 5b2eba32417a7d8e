"""The types of requests and responses, generated from the OpenAPI document by `make client`."""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field


class Accuracy(Struct, frozen=True, kw_only=True):
    """
    The shares of `n` test images: clean, robust, and the 95 % interval of robust.
    """

    clean: float
    robust: float
    low: float
    high: float
    n: int
    flags: list[str]


class AdaptScore(Struct, frozen=True, kw_only=True):
    """
    One adapted model: superclass accuracy on held-out images of the target classes.

    `baseline` is the accuracy of the nearest mean of pixels, with the same images; null for 0 images.
    """

    seed: int
    shots: int
    adapted: Accuracy
    baseline: Accuracy | None


class AttackScore(Struct, frozen=True, kw_only=True):
    """
    One attack of a cascade: the number of its samples, how many it broke, and the robust accuracy after it.
    """

    attack: str
    parameters: dict[str, Any]
    n: int
    broken: int
    robust_accuracy: float
    seconds: float


class AuditSummary(Struct, frozen=True, kw_only=True):
    """
    The result of the audit before or after a boost.
    """

    audit: int
    n: int | None
    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_low: float | None
    robust_high: float | None
    gap: float | None
    flags: list[str]


class BoostBody(Struct, frozen=True, kw_only=True):
    """
    The options of `auditor boost`, with the same defaults.
    """

    model: str
    method: Literal["at", "trades"] = "at"
    regularizer: Literal["logits", "linear", "none"] = "logits"
    beta: float = 0.1
    epochs: int = 5
    eps: float | None = None
    norm: Literal["Linf", "L2"] | None = None
    steps: int = 10
    step_size: float | None = None
    lr: float = 0.02
    batch_size: int = 128
    weight_decay: float = 0.0005
    ema: float = 0.99
    amp: bool = True
    seed: int = 0
    protocol: Literal["quick", "standard", "strong", "full"] = "standard"
    samples: int | None = None
    device: str = "cpu"
    time_limit: float = 2880.0


class Certificate(Struct, frozen=True, kw_only=True):
    """
    What is proven of the samples: for bounds of this model, for smoothing of the smoothed model, another classifier.

    ``radii``: the certified L2 radius of each sample; null for bounds.
    """

    method: str
    parameters: dict[str, Any]
    certified: list[bool]
    accuracy: float
    low: float
    high: float
    radii: list[float] | None
    clean_accuracy: float | None
    abstained: float | None


class ClassAccuracy(Struct, frozen=True, kw_only=True):
    """
    The samples of one class: how many there are, are correct, and survive; the interval of the robust accuracy.
    """

    name: str
    superclass: str
    n: int
    correct: int
    survived: int
    robust_accuracy: float | None
    low: float | None
    high: float | None


class Corruption(Struct, frozen=True, kw_only=True):
    """
    The accuracy under one corruption, the mean over severity 1 to 5, and at each severity, with 95 % intervals.

    ``low`` and ``high`` are null where the verdicts were pruned. ``verdicts``: of each severity, one for each image.
    """

    corruption: str
    accuracy: float
    low: float | None
    high: float | None
    severities: list[float]
    lows: list[float]
    highs: list[float]
    n: int
    verdicts: list[list[bool]] | None


class CurveComparison(Struct, frozen=True, kw_only=True):
    """
    Two curves on their shared samples: on how many each has the larger critical radius, and the sign test.

    ``area_difference``: of a minus b, with its 95 % interval; ``gap``: the largest difference, at the radius
    ``gap_at``.
    """

    n: int
    largest: float
    larger_a: int
    larger_b: int
    ties: int
    p: float
    area_difference: float
    low: float
    high: float
    gap: float
    gap_at: float


class CurvePoint(Struct, frozen=True, kw_only=True):
    """
    The robust accuracy at one radius, with Wilson's 95 % interval.
    """

    eps: float
    robust: float
    low: float
    high: float


class Epoch(Struct, frozen=True, kw_only=True):
    """
    The validation scores after one epoch; number 0 is the model before training.
    """

    number: int
    loss: float | None
    clean_accuracy: float
    pgd_accuracy: float
    gap: float | None
    seconds: float


class Gain(Struct, frozen=True, kw_only=True):
    """
    Robust accuracy after minus before on the images of both audits, its 95 % interval, and McNemar's p.
    """

    n: int
    only_before: int
    only_after: int
    difference: float
    p_value: float
    low: float
    high: float


class Health(Struct, frozen=True, kw_only=True):
    """
    The server and its database respond.
    """

    status: Literal["ok"]
    version: str


class LastRun(Struct, frozen=True, kw_only=True):
    due_at: datetime
    state: str
    reason: str | None
    scan: int | None
    scan_state: str | None


class MatrixShown(Struct, frozen=True, kw_only=True):
    """
    ``leaf_order``: the classes in dendrogram order.
    """

    kind: str
    classes: list[str]
    superclasses: list[str]
    leaf_order: list[int]
    matrix: list[list[float | None]]


class Model(Struct, frozen=True, kw_only=True):
    model: str
    source: str
    description: str
    dataset: str
    architecture: dict[str, Any]
    training: dict[str, Any]
    audits: int


class ModelAt(Struct, frozen=True, kw_only=True):
    model: str
    id: int


class Models(Struct, frozen=True, kw_only=True):
    models: list[Model]
    next: str | None


class Paired(Struct, frozen=True, kw_only=True):
    """
    How many samples both, one or none of the two get right; the difference is a minus b, with its 95 % interval.

    For the mean over corruptions there are no such counts, and ``test`` is a paired t-test instead of McNemar's.
    """

    a: float
    b: float
    both: int | None
    only_a: int | None
    only_b: int | None
    neither: int | None
    difference: float
    low: float
    high: float
    interval: str
    mcnemar_p: float | None
    p_value: float
    test: str


class Published(Struct, frozen=True, kw_only=True):
    """
    The published figures of a model. Accuracies are fractions from 0 to 1; None if a figure was not published.

    Attributes:
        model: its name, ``source:id``.
        norm, eps: the threat model of the robust accuracies, in [0, 1] pixels; None for common corruptions.
        autoattack_accuracy: accuracy under AutoAttack.
        external_accuracy: accuracy under a stronger attack by others.
        corruptions_accuracy: accuracy under common corruptions, which is no accuracy in a norm ball.
        unreliable: whether the publisher marks AutoAttack's figure as unreliable.
    """

    model: str
    norm: str | None
    eps: float | None
    clean_accuracy: float | None
    autoattack_accuracy: float | None
    external_accuracy: float | None
    corruptions_accuracy: float | None
    unreliable: bool
    architecture: str | None
    paper: str | None
    venue: str | None
    link: str | None


class Queue(Struct, frozen=True, kw_only=True):
    """
    A queue: its queued and running jobs, the longest wait in seconds, and the workers with a recent heartbeat.

    `unserved`: jobs wait, and there is no such worker.
    """

    queue: str
    queued: int
    running: int
    oldest_seconds: float | None
    workers: list[str]
    unserved: bool


class Recipe(Struct, frozen=True, kw_only=True):
    """
    Everything that determines a training run, except the network and the data.

    Attributes:
        method: ``standard``, ``at`` (PGD-AT, Madry et al., 2018) or ``trades`` (Zhang et al., 2019).
        norm, eps: the attack's norm ball, ``eps`` in [0, 1] pixels; ``steps`` steps of ``step_size``.
        regularizer, beta: the clustering regularizer and its weight; ``linear`` is applied every ``linear_every``
            steps, with ``linear_every`` times the weight.
        trades_lambda: the weight of TRADES's robust term.
        noise: standard deviation of Gaussian noise added to the pixels.
        augment: heavy augmentation.
        temperature: the cross-entropy is computed from ``logits / temperature``.
        label_smoothing: label smoothing of the cross-entropy, 0 to 1.
        ema: decay of the moving average of the weights, which is validated and stored; 0 for no average.
        awp: size of the adversarial weight perturbation (Wu et al., 2020), relative to each weight's norm; 0 for none.
        max_lr: the peak of the one-cycle schedule of SGD with Nesterov momentum.
        amp: bfloat16 by torch's autocast on a GPU.
    """

    method: str
    eps: float
    steps: int
    step_size: float
    random_start: bool
    beta: float
    trades_lambda: float
    noise: float
    augment: bool
    temperature: float
    epochs: int
    batch_size: int
    max_lr: float
    momentum: float
    weight_decay: float
    seed: int
    norm: str
    regularizer: str
    linear_every: int
    label_smoothing: float
    ema: float
    awp: float
    amp: bool


class Result(Struct, frozen=True, kw_only=True):
    """
    A row of ``auditor results list``.
    """

    id: int
    model: str
    source: str
    dataset: str
    status: str
    training: dict[str, Any]
    architecture: str | None
    threat_model: str
    norm: str
    eps: float
    protocol: str
    linearization: str
    sketch: int | None
    extra_attacks: str | None
    hierarchy: str | None
    not_measurable: list[str]
    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_low: float | None
    robust_high: float | None
    n: int | None
    affinity_error: float | None
    flags: list[str]
    notes: list[str]
    seconds: float | None
    device: str
    batch_size: int | None
    seed: int
    weights_sha256: str | None
    images_sha256: str | None
    identity: str | None
    samples: int | None
    versions: dict[str, str]
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    correlation: str
    intra: float | None
    inter: float | None
    gap: float | None
    gap_error: float | None
    silhouette: float | None
    rand_index: float | None
    cophenetic: float | None
    p_value: float | None
    effective_rank: float | None
    gap_centred: float | None
    gap_deflated: float | None
    gap_features: float | None
    screen_score: float | None
    margin: float | None
    local_gap: float | None
    data_margin: float | None
    certified_accuracy: float | None
    smoothed_certified_accuracy: float | None
    claimed_clean_accuracy: float | None
    claimed_robust_accuracy: float | None
    claimed_unreliable: bool | None


class Results(Struct, frozen=True, kw_only=True):
    results: list[Result]
    next: str | None


class Scan(Struct, frozen=True, kw_only=True):
    """
    A scan, with the number of its audits in each state.

    `silent_since`: the last sign of life of a process that runs one of its audits, if it is longer ago than expected.
    `unserved`: audits are queued, and no worker with a recent heartbeat serves their queue. `seconds_left` is an
    estimate from its done audits.
    """

    scan: int
    source: str
    state: str
    queue: str
    protocol: str | None
    device: str
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int
    worker: str | None
    silent_since: datetime | None
    unserved: bool
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    seconds_left: float | None


class ScanAudit(Struct, frozen=True, kw_only=True):
    """
    One audit of a scan. While it runs, `part` names the present part, with `part_done` of `part_total` steps.

    `silent_since` is the last sign of life of its process, if it is longer ago than expected.
    """

    audit: int
    model: str
    state: str
    reused: bool
    attempt: int
    losses: int
    worker: str | None
    silent_since: datetime | None
    part: str | None
    part_done: int | None
    part_total: int | None
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


class ScanBody(Struct, frozen=True, kw_only=True):
    """
    The options of `auditor scan`, with the same defaults.
    """

    source: Literal["demo", "robustbench", "timm", "torchvision", "hub", "checkpoint"]
    models: list[str] = field(default_factory=list)
    match: str | None = None
    dataset: str | None = None
    threat_model: str | None = None
    pretrained_only: bool = False
    limit: int | None = None
    protocol: Literal["screen", "quick", "standard", "strong", "full"] = "quick"
    samples: int | None = None
    norm: Literal["Linf", "L2", "L1"] | None = None
    eps: float | None = None
    linearization: Literal["remove", "fold"] = "remove"
    sketch: int | None = None
    triage: float | None = None
    targeted: Literal["superclass"] | None = None
    curve: bool = False
    stop_at: float | None = None
    certify: Literal["bounds", "smoothing"] | None = None
    sigma: float | None = None
    mixed_precision: bool = False
    seed: int = 0
    device: str = "cpu"
    force: bool = False


class ScanDetail(Struct, frozen=True, kw_only=True):
    scan: int
    source: str
    state: str
    queue: str
    protocol: str | None
    device: str
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int
    worker: str | None
    silent_since: datetime | None
    unserved: bool
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    seconds_left: float | None
    audits: list[ScanAudit]


class Scans(Struct, frozen=True, kw_only=True):
    scans: list[Scan]
    next: str | None


class Schedule(Struct, frozen=True, kw_only=True):
    """
    A schedule. `next` is its next due time; null if it is disabled or has a problem.

    `problem` says why it can never run, and is null otherwise.
    """

    id: int
    name: str
    cron: str
    command: list[str]
    enabled: bool
    problem: str | None
    next: datetime | None
    last: LastRun | None


class ScheduleBody(Struct, frozen=True, kw_only=True):
    """
    The options of `auditor schedule add`: a cron expression in UTC, and the scan to run.
    """

    cron: str
    scan: ScanBody
    enabled: bool = True


class Schedules(Struct, frozen=True, kw_only=True):
    schedules: list[Schedule]


class Scores(Struct, frozen=True, kw_only=True):
    """
    The scores of one matrix; ``reasons`` say why a score is null.
    """

    intra: float | None
    inter: float | None
    gap: float | None
    silhouette: float | None
    rand_index: float | None
    cophenetic: float | None
    p_value: float | None
    effective_rank: float | None
    leaf_order: list[int]
    tree_spearman: float | None
    gap_error: float | None
    reasons: dict[str, str]
    matrix: list[list[float | None]] | None
    pruned: bool


class ScreeningDetail(Struct, frozen=True, kw_only=True):
    """
    What the weights say of robustness; lengths in [0, 1] pixels. ``reasons`` say why a value is null.
    """

    score: float | None
    margin: float | None
    local_gap: float | None
    gap: float | None
    data_margin: float | None
    statistics: dict[str, float | None]
    findings: list[str]
    reasons: dict[str, str]


class Side(Struct, frozen=True, kw_only=True):
    model: str
    id: int
    n: int
    flags: list[str]
    weights_sha256: str | None
    linearization: str
    correlation: str
    sketch: int | None
    extra_attacks: str | None
    certified_accuracy: float | None
    smoothed_certified_accuracy: float | None
    gap_error: float | None
    gap: float | None
    gap_centred: float | None
    gap_deflated: float | None
    gap_features: float | None


class SourceScore(Struct, frozen=True, kw_only=True):
    """
    The source model of a seed: its accuracy on held-out images of its own classes.
    """

    seed: int
    accuracy: Accuracy
    weights_sha256: str


class Superclass(Struct, frozen=True, kw_only=True):
    """
    One superclass, by the names of its subclasses in the data set.
    """

    name: str
    sources: list[str]
    targets: list[str]


class Targeted(Struct, frozen=True, kw_only=True):
    """
    Of the correctly classified samples with a target in their superclass, or in another, those that became one.
    """

    targets: int
    n: int
    within_n: int
    within: int
    across_n: int
    across: int
    within_rate: float | None
    within_low: float | None
    within_high: float | None
    across_rate: float | None
    across_low: float | None
    across_high: float | None


class Tuning(Struct, frozen=True, kw_only=True):
    """
    Fine-tuning on the target images: SGD on cross-entropy plus ``beta`` times MSE(logits, class centre).

    Attributes:
        layers: ``head`` trains only the new head, ``all`` all layers; batch norm keeps its running statistics.
        head: ``sources`` starts with the mean of the source subclasses' templates, ``fresh`` with random ones.
        beta: the weight of the centres' term, 0 for none.
        steps: steps of SGD with momentum 0.9, each on ``batch_size`` images, or on all if there are fewer.
    """

    layers: str
    head: str
    beta: float
    steps: int
    batch_size: int
    lr: float


class Verdicts(Struct, frozen=True, kw_only=True):
    """
    By sample: its index in the data set, whether it is classified correctly, and whether it survives all attacks.

    ``labels``: its true class; ``predicted``: its class after the attacks, of the adversarial image if one broke it;
    ``broken_at``: the position in ``attacks`` of the attack that broke it, or -1. Older audits have null.
    """

    indices: list[int]
    correct: list[bool]
    survived: list[bool]
    labels: list[int] | None
    predicted: list[int] | None
    broken_at: list[int] | None


class Worker(Struct, frozen=True, kw_only=True):
    """
    A process that runs audits and trainings, with its current job.

    `silent_since` is the time of its last heartbeat, if it is longer ago than expected.
    """

    worker: str
    host: str
    queue: str
    device: str
    kind: str | None
    audit: int | None
    training: int | None
    scan: int | None
    model: str | None
    protocol: str | None
    attempt: int | None
    part: str | None
    part_done: int | None
    part_total: int | None
    audit_started_at: datetime | None
    job_started_at: datetime | None
    started_at: datetime
    seen_at: datetime
    seconds_silent: float
    silent_since: datetime | None


class Workers(Struct, frozen=True, kw_only=True):
    workers: list[Worker]
    queues: list[Queue]


class AdaptationResult(Struct, frozen=True, kw_only=True):
    """
    A score for each seed and number of target images, and one for each source model.
    """

    scores: list[AdaptScore]
    sources: list[SourceScore]
    data_sha256: list[str]
    notes: list[str]


class Assignment(Struct, frozen=True, kw_only=True):
    """
    The superclasses that a model is adapted to, in the order of its logits.
    """

    dataset: str
    superclasses: list[Superclass]


class Boost(Struct, frozen=True, kw_only=True):
    """
    A boost. `history` lists its epochs so far.
    """

    id: int
    state: str
    model: str
    queue: str
    attempt: int
    losses: int
    worker: str | None
    silent_since: datetime | None
    unserved: bool
    reason: str | None
    seconds: float | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    part: str | None
    part_done: int | None
    part_total: int | None
    recipe: Recipe
    protocol: str
    samples: int | None
    device: str
    history: list[Epoch]


class Boosts(Struct, frozen=True, kw_only=True):
    boosts: list[Boost]
    next: str | None


class Checkpoint(Struct, frozen=True, kw_only=True):
    """
    The checkpoint of a boost, with the audits before and after.
    """

    id: int
    checkpoint: str
    model: str
    lineage: list[str]
    parent_sha256: str
    weights_sha256: str
    data_sha256: str
    stopped: str | None
    verdict: str
    versions: dict[str, str]
    dataset: str
    norm: str
    eps: float
    recipe: Recipe
    protocol: str
    samples: int | None
    device: str
    history: list[Epoch]
    best: int
    before: AuditSummary | None
    after: AuditSummary | None
    comparison: Gain | None
    seconds: float | None
    created_at: datetime


class CheckpointDetail(Struct, frozen=True, kw_only=True):
    """
    A checkpoint. `file_sha256` is the digest of its weights file.
    """

    id: int
    checkpoint: str
    model: str
    lineage: list[str]
    parent_sha256: str
    weights_sha256: str
    data_sha256: str
    stopped: str | None
    verdict: str
    versions: dict[str, str]
    dataset: str
    norm: str
    eps: float
    recipe: Recipe
    protocol: str
    samples: int | None
    device: str
    history: list[Epoch]
    best: int
    before: AuditSummary | None
    after: AuditSummary | None
    comparison: Gain | None
    seconds: float | None
    created_at: datetime
    file_sha256: str


class Checkpoints(Struct, frozen=True, kw_only=True):
    checkpoints: list[Checkpoint]
    next: str | None


class ClassErrors(Struct, frozen=True, kw_only=True):
    """
    What the attacks turned the samples into; docs/errors.md. ``reasons`` say why a value is null.
    """

    classes: list[ClassAccuracy]
    confusion: list[list[int]] | None
    attack_success: Scores | None
    superclass_robust_accuracy: float | None
    superclass_robust_low: float | None
    superclass_robust_high: float | None
    broken: int
    severity: float | None
    severity_low: float | None
    severity_high: float | None
    severity_chance: float | None
    severity_by_c: float | None
    severity_p_value: float | None
    reasons: dict[str, str]


class Comparison(Struct, frozen=True, kw_only=True):
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


class Curve(Struct, frozen=True, kw_only=True):
    """
    The robust accuracy at every radius up to ``largest``, in [0, 1] pixels; docs/attacks.md.

    ``median``: the smallest radius with a robust accuracy of 50 % or less, null if it is larger than ``largest``;
    ``area``: under the curve, the mean critical radius. ``robust``, ``low``, ``high``: at ``radii``, with the ``band``
    of half width ``reach``. ``sizes``: of the nearest adversarial image by sample, null if none was found;
    ``found_by``: the attack that found it.
    """

    n: int
    norm: str
    largest: float
    median: float | None
    median_low: float | None
    median_high: float | None
    area: float
    area_low: float
    area_high: float
    reach: float
    points: list[CurvePoint]
    band: str
    radii: list[float]
    robust: list[float]
    low: list[float]
    high: list[float]
    sizes: list[float | None]
    found_by: list[str | None]
    seconds: float


class ModelDetail(Struct, frozen=True, kw_only=True):
    """
    With its newest results.
    """

    model: str
    source: str
    description: str
    dataset: str
    architecture: dict[str, Any]
    training: dict[str, Any]
    audits: int
    results: list[Result]


class ResultDetail(Struct, frozen=True, kw_only=True):
    """
    Everything that is stored about one audit.
    """

    id: int
    model: str
    source: str
    dataset: str
    status: str
    training: dict[str, Any]
    architecture: str | None
    threat_model: str
    norm: str
    eps: float
    protocol: str
    linearization: str
    sketch: int | None
    extra_attacks: str | None
    hierarchy: str | None
    not_measurable: list[str]
    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_low: float | None
    robust_high: float | None
    n: int | None
    affinity_error: float | None
    flags: list[str]
    notes: list[str]
    seconds: float | None
    device: str
    batch_size: int | None
    seed: int
    weights_sha256: str | None
    images_sha256: str | None
    identity: str | None
    samples: int | None
    versions: dict[str, str]
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    correlation: str
    intra: float | None
    inter: float | None
    gap: float | None
    gap_error: float | None
    silhouette: float | None
    rand_index: float | None
    cophenetic: float | None
    p_value: float | None
    effective_rank: float | None
    gap_centred: float | None
    gap_deflated: float | None
    gap_features: float | None
    screen_score: float | None
    margin: float | None
    local_gap: float | None
    data_margin: float | None
    certified_accuracy: float | None
    smoothed_certified_accuracy: float | None
    claimed_clean_accuracy: float | None
    claimed_robust_accuracy: float | None
    claimed_unreliable: bool | None
    description: str
    classes: list[str]
    superclasses: list[str]
    attacks: list[AttackScore]
    clusterings: dict[str, Scores]
    screening: ScreeningDetail | None
    published: Published | None
    verdicts: Verdicts | None
    targeted: Targeted | None
    certificate: Certificate | None
    corruptions: list[Corruption] | None
    curve: Curve | None
    errors: ClassErrors | None


class AdaptRequest(Struct, frozen=True, kw_only=True):
    """
    Everything that determines an adaptation's numbers, except the data and the weights of a given model.

    Attributes:
        start: the source model: a recipe's name (see ``RECIPES``), or a model's, ``source:id``.
        recipe: a changed recipe for the source model; None for the recipe that ``start`` names.
        source_images: the maximum number of training images, in equal shares of the source classes; None for all.
        shots: numbers of images of each target class; 0 measures the initial head.
        seeds: each seed trains a source model and draws target images.
        held_out: the maximum number of test images, in equal shares of the superclasses.
        norm, eps: the norm ball of the attacks, in [0, 1] pixels.
        protocol: ``adapt`` is PGD-20, then APGD-CE with 100 iterations; or a protocol of audits.
    """

    assignment: Assignment
    start: str
    recipe: Recipe | None
    source_images: int | None
    tuning: Tuning
    shots: list[int]
    seeds: list[int]
    held_out: int
    norm: str
    eps: float
    protocol: str


class Adaptation(Struct, frozen=True, kw_only=True):
    """
    An adaptation. `model` is a recipe of the source model, or a model of a zoo; `result` is null until it is done.

    `request` holds what decides its numbers: classes, recipe, tuning, numbers of target images (`shots`) and seeds.
    """

    id: int
    state: str
    model: str
    queue: str
    attempt: int
    losses: int
    worker: str | None
    silent_since: datetime | None
    unserved: bool
    reason: str | None
    seconds: float | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    part: str | None
    part_done: int | None
    part_total: int | None
    request: AdaptRequest
    device: str
    result: AdaptationResult | None


class Adaptations(Struct, frozen=True, kw_only=True):
    adaptations: list[Adaptation]
    next: str | None
