"""The tables. The database is the truth about jobs and results; docs/database.md describes it to people who use SQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, LargeBinary, MetaData, String, UniqueConstraint, false, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """Times with a zone in Python, UTC in every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value


LEADERBOARD = (
    "model", "source", "dataset", "threat_model", "norm", "eps", "protocol", "linearization", "sketch", "hierarchy",
    "n", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high",
    "claimed_clean_accuracy", "claimed_robust_accuracy", "claimed_unreliable",
    "intra", "inter", "gap", "gap_error", "silhouette", "p_value", "effective_rank", "affinity_error",
    "flags", "clean_accuracy_mismatch", "robust_accuracy_mismatch", "ranked",
    "weights_sha256", "seconds", "device", "started_at", "audit_id",
)  # fmt: skip
"""The columns of the view ``leaderboard``, which the migrations make."""


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index over a few of a table's rows; SQLite uses it only where a query says the same words, as of booleans."""
    words = f"{where} = 1" if where.isidentifier() else where
    return Index(name, *columns, sqlite_where=text(words), postgresql_where=text(where))


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        bytes: LargeBinary(),
        str: String(),
    }


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
    queue: Mapped[str] = mapped_column(server_default="here")
    worker: Mapped[str | None]
    pending: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ScanAudit(Base):
    """The audits a scan speaks of; ``reused`` ones had been done before."""

    __tablename__ = "scan_audits"

    scan_id: Mapped[int] = mapped_column(ForeignKey("scans.id", ondelete="CASCADE"), primary_key=True)
    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True, index=True)
    reused: Mapped[bool]


class Audit(Base):
    """One audit. State: queued, running, done, failed, cancelled; ``attempt`` counts claims.

    ``entry``: the zoo entry as it was asked for. ``worker``: the process that claimed it last.
    ``lease_until``: renewed while it runs; ``losses`` counts the leases that ran out.
    ``sent_at``: when its id was sent to the queue last. ``cancelling``: why it is to be cancelled, while it still runs.
    ``confirmed_at``: when a scan last found that this is what the model, as it is now, gives. Weights may change and
    change back, so the newest audit of a model is the one confirmed last, not the one made last.
    ``latest``: of the done and failed audits of a model under one setting the one confirmed last; ``latest_done``: of
    the done ones.
    ``sketch``: from how many random images C is estimated; NULL where it is exact.
    """

    __tablename__ = "audits"
    __table_args__ = (
        Index("ix_audits_identity_state", "identity", "state"),
        Index("ix_audits_model_id_state_confirmed_at", "model_id", "state", "confirmed_at"),
        Index("ix_audits_started_at", text("started_at DESC NULLS LAST")).ddl_if(dialect="postgresql"),
        _partial("ix_audits_latest", "model_id", where="latest"),
        _partial("ix_audits_latest_done", "model_id", where="latest_done"),
        _partial("ix_audits_unfinished", "queue", "state", where="state IN ('queued', 'running')"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    identity: Mapped[str | None]
    entry: Mapped[dict[str, Any] | None]
    queue: Mapped[str] = mapped_column(server_default="here")
    state: Mapped[str]
    attempt: Mapped[int]
    losses: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    cancelling: Mapped[str | None]
    reason: Mapped[str | None]
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
    seed: Mapped[int]
    parameters: Mapped[dict[str, Any]]
    hierarchy: Mapped[str | None]
    classes: Mapped[list[Any]]
    superclasses: Mapped[list[Any]]
    weights_sha256: Mapped[str | None]
    images_sha256: Mapped[str | None]
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
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship()
    clusterings: Mapped[list["Clustering"]] = relationship(cascade="all, delete-orphan")
    attacks: Mapped[list["AttackScore"]] = relationship(cascade="all, delete-orphan", order_by="AttackScore.position")
    verdicts: Mapped["Verdicts | None"] = relationship(cascade="all, delete-orphan")


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


class Verdicts(Base):
    """Per-sample verdicts: indices as little-endian int64, verdicts as packed bits, zlib each.

    ``pictures``: a 64-bit digest of each sample, little-endian; NULL in rows of the first revision.
    """

    __tablename__ = "verdicts"

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[int]
    indices: Mapped[bytes]
    correct: Mapped[bytes]
    survived: Mapped[bytes]
    pictures: Mapped[bytes | None]


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
    """A process that runs audits, as it last said that it lives: ``name`` is host:pid, or
    host:pid/slot where a process runs several.

    ``queue``: cpu, gpu or here; ``part``: of the audit that it is at, ``part_done`` of ``part_total``.
    """

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str]
    device: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    audit_id: Mapped[int | None] = mapped_column(ForeignKey("audits.id", ondelete="SET NULL"), index=True)
    part: Mapped[str | None]
    part_done: Mapped[int | None]
    part_total: Mapped[int | None]
