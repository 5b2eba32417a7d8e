"""The tables. The database is the truth about jobs and results; docs/database.md describes it to people who use SQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auditor.db.base import Base
from auditor.records import LOCAL_QUEUE


class Leased:
    """A job that one process holds at a time. State: queued, running, done, failed, cancelled.

    ``queue``: ``cpu`` or ``gpu`` for workers; ``here`` for the requesting process. ``attempt`` counts claims;
    ``worker`` is the process that made the last claim.
    ``lease_until``: renewed by ``lease_seconds`` while the job runs; ``losses`` counts the leases that expired
    since the job last made progress.
    ``sent_at``: when its id was last sent to the queue. ``cancelling``: why a running job is being cancelled.
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(server_default=LOCAL_QUEUE)
    state: Mapped[str]
    attempt: Mapped[int]
    losses: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    lease_seconds: Mapped[float | None]
    sent_at: Mapped[datetime | None]
    cancelling: Mapped[str | None]
    reason: Mapped[str | None]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Training(Leased, Base):
    """A boost or an adaptation. ``kind``: boost, adapt; ``model``: the name of the source model.

    ``entry``: the zoo entry of this model; NULL for an adaptation that trains its own source model.
    ``history``: the validated epochs of a boost; ``result``: the outcome of an adaptation.
    """

    __tablename__ = "trainings"

    kind: Mapped[str]
    model: Mapped[str]
    entry: Mapped[dict[str, Any] | None]
    request: Mapped[dict[str, Any]]
    history: Mapped[list[Any]]
    result: Mapped[dict[str, Any] | None]
    seconds: Mapped[float | None]


class Checkpoint(Base):
    """What a boost left, under the boost's number; ``checkpoint:NUMBER`` is its model's name.

    ``verdict``: significant gain, no significant gain, significant loss, not audited; ``difference`` of the robust
    accuracies, after minus before, on the same images, from ``difference_low`` to ``difference_high`` at 95 %;
    ``p_value`` of McNemar's test.
    """

    __tablename__ = "checkpoints"

    id: Mapped[int] = mapped_column(ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True)
    parent: Mapped[str]
    parent_sha256: Mapped[str]
    weights_sha256: Mapped[str]
    data_sha256: Mapped[str]
    best_epoch: Mapped[int]
    stopped: Mapped[str | None]
    before_audit_id: Mapped[int | None] = mapped_column(ForeignKey("audits.id", ondelete="SET NULL"), index=True)
    after_audit_id: Mapped[int | None] = mapped_column(ForeignKey("audits.id", ondelete="SET NULL"), index=True)
    n: Mapped[int | None]
    only_before: Mapped[int | None]
    only_after: Mapped[int | None]
    difference: Mapped[float | None]
    difference_low: Mapped[float | None]
    difference_high: Mapped[float | None]
    p_value: Mapped[float | None]
    verdict: Mapped[str]
    versions: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Token(Base):
    """What lets a program in: the hash of a secret that is stored nowhere. Scope: read, scan, boost, admin.

    ``used_at``: when it let somebody in last, to the minute.
    """

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    secret_sha256: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


__all__ = [
    "AttackProgress", "AttackScore", "Audit", "Certificate", "Checkpoint", "Clustering", "Corruption",
    "Curve", "Leased", "Model", "Published", "Scan", "ScanAudit", "Schedule", "ScheduleRun", "Screening", "Templates",
    "Token", "Training", "Verdicts", "Worker",
]  # fmt: skip


class Model(Base):
    """A zoo's model by name, as it was scanned last; weights and data set may change, so they are on the audits.

    ``place``: the folder of a local zoo; NULL elsewhere.
    """

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    description: Mapped[str]
    dataset: Mapped[str]
    architecture: Mapped[dict[str, Any]]
    training: Mapped[dict[str, Any]]
    place: Mapped[str | None]


class Scan(Base):
    """One request to audit many models. State: running, done, interrupted.

    ``queue``: cpu or gpu, for workers, or here: in the process that is named by ``worker``.
    ``pending``: how many of its audits have not ended.
    """

    __tablename__ = "scans"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    request: Mapped[dict[str, Any]]
    state: Mapped[str]
    queue: Mapped[str] = mapped_column(server_default=LOCAL_QUEUE)
    worker: Mapped[str | None]
    pending: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ScanAudit(Base):
    """The audits a scan speaks of; ``reused`` ones had been done before, ``reverified`` ones were measured again."""

    __tablename__ = "scan_audits"

    scan_id: Mapped[int] = mapped_column(ForeignKey("scans.id", ondelete="CASCADE"), primary_key=True)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True, index=True)
    reused: Mapped[bool]
    reverified: Mapped[bool] = mapped_column(server_default=false())


class Audit(Leased, Base):
    """One audit, a leased job. ``entry``: the zoo entry as requested.

    ``confirmed_at``: when a scan last found that this is what the model, as it is now, gives. Weights may change and
    change back, so the newest audit of a model is the one confirmed last, not the one made last.
    ``latest``: of the done and failed audits of a model under one setting the one confirmed last; ``latest_done``: of
    the done ones.
    ``sketch``: from how many random images C is estimated; NULL where it is exact.
    ``extra_attacks``: what ran beyond the attacks of the protocol; NULL without any.
    ``targeted``: the counts of ``auditor.records.targeted``; NULL without targeted attacks.
    ``adversarials``: the path of the file of the images that broke samples, where the audit ran; NULL without one.
    """

    __tablename__ = "audits"
    __table_args__ = (
        Index("ix_audits_identity_state", "identity", "state"),
        Index("ix_audits_model_id_state_confirmed_at", "model_id", "state", "confirmed_at"),
        Index("ix_audits_newest", "started_at"),
    )

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    identity: Mapped[str | None]
    entry: Mapped[dict[str, Any] | None]
    latest: Mapped[bool] = mapped_column(server_default=false())
    latest_done: Mapped[bool] = mapped_column(server_default=false())
    dataset: Mapped[str]
    threat_model: Mapped[str]
    norm: Mapped[str]
    eps: Mapped[float]
    protocol: Mapped[str]
    samples: Mapped[int | None]
    linearization: Mapped[str]
    sketch: Mapped[int | None]
    extra_attacks: Mapped[str | None]
    seed: Mapped[int]
    parameters: Mapped[dict[str, Any]]
    hierarchy: Mapped[str | None]
    classes: Mapped[list[Any]]
    superclasses: Mapped[list[Any]]
    weights_sha256: Mapped[str | None]
    images_sha256: Mapped[str | None]
    adversarials: Mapped[str | None]
    n: Mapped[int | None]
    clean_accuracy: Mapped[float | None]
    robust_accuracy: Mapped[float | None]
    robust_low: Mapped[float | None]
    robust_high: Mapped[float | None]
    affinity_error: Mapped[float | None]
    flags: Mapped[list[Any]]
    notes: Mapped[list[Any]]
    not_measurable: Mapped[list[Any]]
    seconds: Mapped[float | None]
    device: Mapped[str]
    batch_size: Mapped[int | None]
    versions: Mapped[dict[str, Any]]
    targeted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    confirmed_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship()
    clusterings: Mapped[list["Clustering"]] = relationship(cascade="all, delete-orphan")
    attacks: Mapped[list["AttackScore"]] = relationship(cascade="all, delete-orphan", order_by="AttackScore.position")
    verdicts: Mapped["Verdicts | None"] = relationship(cascade="all, delete-orphan")
    screening: Mapped["Screening | None"] = relationship(cascade="all, delete-orphan")
    templates: Mapped[list["Templates"]] = relationship(cascade="all, delete-orphan")
    certificate: Mapped["Certificate | None"] = relationship(cascade="all, delete-orphan")
    corruptions: Mapped[list["Corruption"]] = relationship(
        cascade="all, delete-orphan", order_by="(Corruption.position, Corruption.severity)"
    )
    curve: Mapped["Curve | None"] = relationship(cascade="all, delete-orphan")


class Clustering(Base):
    """Scores of one matrix of an audit, and the matrix itself: float32, zlib. Kind: weights, centred, …

    ``gap_error``: standard error of a sketch's gap; NULL where the matrix is exact.
    ``matrix``: NULL where it was pruned.
    """

    __tablename__ = "clusterings"
    __table_args__ = (UniqueConstraint("audit_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"))
    kind: Mapped[str]
    intra: Mapped[float | None]
    inter: Mapped[float | None]
    gap: Mapped[float | None]
    gap_error: Mapped[float | None]
    silhouette: Mapped[float | None]
    rand_index: Mapped[float | None]
    cophenetic: Mapped[float | None]
    p_value: Mapped[float | None]
    effective_rank: Mapped[float | None]
    tree_spearman: Mapped[float | None]
    leaf_order: Mapped[list[Any]]
    reasons: Mapped[dict[str, Any]]
    size: Mapped[int]
    matrix: Mapped[bytes | None]


class Screening(Base):
    """What an audit's weights say of its robustness; the columns are those of ``auditor.records.screening``.

    ``screen_score``: from 0 to 1; ``margin``, ``data_margin``: lengths in [0, 1] pixels. NULL where undefined, and
    ``reasons`` says why.
    """

    __tablename__ = "screenings"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    screen_score: Mapped[float | None]
    margin: Mapped[float | None]
    local_gap: Mapped[float | None]
    data_margin: Mapped[float | None]
    statistics: Mapped[dict[str, Any]]
    findings: Mapped[list[Any]]
    reasons: Mapped[dict[str, Any]]


class Templates(Base):
    """Pictures of the templates of an audit, one for each class, in class order.

    ``kind``: ``linearized`` or ``local``, the mean over ``probes`` random images; ``size``: of the network's input.
    ``shape``: of the pictures, ``(K, C, h, w)``; ``pixels``: int8, zlib; ``scales``: what 127 stands for in each
    picture, little-endian float64.
    """

    __tablename__ = "templates"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    probes: Mapped[int | None]
    size: Mapped[list[Any]]
    shape: Mapped[list[Any]]
    scales: Mapped[bytes]
    pixels: Mapped[bytes]


class AttackScore(Base):
    """One attack of an audit's cascade, in the order they ran."""

    __tablename__ = "attack_scores"
    __table_args__ = (UniqueConstraint("audit_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"))
    position: Mapped[int]
    attack: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    n: Mapped[int]
    broken: Mapped[int]
    robust_accuracy: Mapped[float]
    seconds: Mapped[float]


class Corruption(Base):
    """One corruption at one severity of an audit under common corruptions; ``position``: of the corruption, from 0.

    ``n_right``: how many of the audit's images are classified correctly; ``verdicts``: which ones, in the order of
    ``verdicts.indices``, as packed bits, zlib; NULL where they were pruned.
    """

    __tablename__ = "corruptions"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    corruption: Mapped[str] = mapped_column(primary_key=True)
    severity: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]
    n: Mapped[int]
    n_right: Mapped[int]
    accuracy: Mapped[float]
    verdicts: Mapped[bytes | None]


class Verdicts(Base):
    """Per-sample verdicts: indices as little-endian int64, verdicts as packed bits, zlib each.

    ``pictures``: a 64-bit digest of each sample, little-endian; NULL in rows of the first revision.
    ``labels``: the true class of each sample; ``predicted``: of each sample that did not survive, in their order, the
    class after the attacks; ``broken_at``: of each sample that an attack broke, in their order, the position of that
    attack in ``attack_scores``. Numbers as ``auditor.db.codec.pack_numbers`` makes them; NULL before revision 0009.
    """

    __tablename__ = "verdicts"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int]
    indices: Mapped[bytes]
    correct: Mapped[bytes]
    survived: Mapped[bytes]
    pictures: Mapped[bytes | None]
    labels: Mapped[bytes | None]
    predicted: Mapped[bytes | None]
    broken_at: Mapped[bytes | None]


class Certificate(Base):
    """What is proven of an audit's samples. ``method``: bounds or smoothing; ``parameters``: its own.

    ``certified_accuracy``: the share of samples that bounds certify, a lower bound of the robust accuracy; NULL for
    smoothing. ``smoothed_certified_accuracy``: the share that smoothing certifies for the smoothed model; NULL for
    bounds. ``low``, ``high``: the 95 % interval of either. ``smoothed_clean_accuracy`` and ``abstained``: shares of the
    smoothed model. ``certified``: packed bits of ``n`` samples, in the order of the verdicts; ``radii``: little-endian
    float64 of each sample; zlib both.
    """

    __tablename__ = "certificates"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    n: Mapped[int]
    certified: Mapped[bytes]
    radii: Mapped[bytes | None]
    certified_accuracy: Mapped[float | None]
    smoothed_certified_accuracy: Mapped[float | None]
    low: Mapped[float]
    high: Mapped[float]
    smoothed_clean_accuracy: Mapped[float | None]
    abstained: Mapped[float | None]


class Curve(Base):
    """The size of the nearest adversarial image found for each sample of an audit, in the order of its verdicts.

    ``sizes``: little-endian float32, zlib: 0 where the clean image is misclassified, infinite where none was found in
    the radius ``largest``; both are lengths in the norm ``norm``, in [0, 1] pixels. ``found_by``: 1 + the position in
    ``attacks`` of the attack that found it, 0 for none, as ``auditor.db.codec.pack_numbers`` makes them.
    """

    __tablename__ = "curves"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int]
    norm: Mapped[str]
    largest: Mapped[float]
    sizes: Mapped[bytes]
    found_by: Mapped[bytes]
    attacks: Mapped[list[Any]]
    seconds: Mapped[float]


class Published(Base):
    """What was published of a model, by the name that its audits have; ``robust_accuracy`` is the lowest of the two."""

    __tablename__ = "published"

    model: Mapped[str] = mapped_column(primary_key=True)
    norm: Mapped[str | None]
    eps: Mapped[float | None]
    clean_accuracy: Mapped[float | None]
    robust_accuracy: Mapped[float | None]
    autoattack_accuracy: Mapped[float | None]
    external_accuracy: Mapped[float | None]
    corruptions_accuracy: Mapped[float | None]
    unreliable: Mapped[bool]
    architecture: Mapped[str | None]
    paper: Mapped[str | None]
    venue: Mapped[str | None]
    link: Mapped[str | None]


class AttackProgress(Base):
    """How far the attacks of an unfinished audit have come, under a key of all that they depend on."""

    __tablename__ = "attack_progress"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str]
    state: Mapped[bytes]
    saved_at: Mapped[datetime]


class Worker(Base):
    """A process that runs audits or trains, with the time of its last heartbeat: ``name`` is host:pid, or
    host:pid/slot where a process runs several.

    ``queue``: cpu, gpu or here; ``part``: of the job that it is at, ``part_done`` of ``part_total``.
    """

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str]
    device: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    audit_id: Mapped[int | None] = mapped_column(ForeignKey("audits.id", ondelete="SET NULL"), index=True)
    training_id: Mapped[int | None] = mapped_column(ForeignKey("trainings.id", ondelete="SET NULL"), index=True)
    part: Mapped[str | None]
    part_done: Mapped[int | None]
    part_total: Mapped[int | None]


class Schedule(Base):
    """A command that is run again and again: ``cron`` in UTC; ``command`` are the words after ``auditor``.

    ``changed_at``: due times before it do not count.
    """

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    cron: Mapped[str]
    command: Mapped[list[Any]]
    enabled: Mapped[bool]
    changed_at: Mapped[datetime]


class ScheduleRun(Base):
    """A due time of a schedule, once. State: started, done, failed, skipped; ``reported_at``: when its end was told.

    ``scan_id``: the one scan that it became.
    """

    __tablename__ = "schedule_runs"
    __table_args__ = (UniqueConstraint("schedule_id", "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"))
    due_at: Mapped[datetime]
    scan_id: Mapped[int | None] = mapped_column(ForeignKey("scans.id", ondelete="SET NULL"), index=True)
    state: Mapped[str]
    started_at: Mapped[datetime]
    reported_at: Mapped[datetime | None]
    reason: Mapped[str | None]


class Counter(Base):
    """A number of events that never decreases, for monitoring. Names: leases_expired, of audits."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]
