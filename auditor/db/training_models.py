"""What a leased job's row has, and the tables of fine-tuning: jobs that train, and the checkpoints they leave."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from auditor.db.base import Base

BOOSTS = (
    "id", "model", "state", "reason", "verdict", "dataset", "norm", "eps", "protocol", "n",
    "clean_before", "clean_after", "robust_before", "robust_after",
    "difference", "difference_low", "difference_high", "p_value", "gap_before", "gap_after",
    "best_epoch", "stopped", "parent_sha256", "weights_sha256", "data_sha256", "before_audit_id", "after_audit_id",
    "request", "seconds", "queued_at", "started_at", "finished_at",
)  # fmt: skip
"""The columns of the view ``boosts``, which the migrations make."""


class Leased:
    """A job that one process at a time has. State: queued, running, done, failed, cancelled.

    ``queue``: cpu or gpu, for workers, or here: in the process that asked. ``attempt`` counts claims, ``worker`` is the
    process that made the last one.
    ``lease_until``: renewed while it runs, by ``lease_seconds``; ``losses`` counts the leases that ran out
    since the job last got further than ever before.
    ``sent_at``: when its id was sent to the queue last. ``cancelling``: why it is to be cancelled, while it still runs.
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(server_default="here")
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
    """A boost or an adaptation. ``kind``: boost, adapt; ``model``: the name of what it begins with.

    ``entry``: that model's zoo entry; NULL for an adaptation that trains a model of its own.
    ``history``: of a boost, its epochs as validation saw them; ``result``: what an adaptation found.
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
