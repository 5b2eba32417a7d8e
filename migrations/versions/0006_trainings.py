"""boosts and adaptations as jobs, the checkpoints that boosts leave, and a view of both for people who use SQL"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

# One row a boost: its request, what it left, and the audits before and after.
BOOSTS = """
CREATE VIEW boosts AS
SELECT t.id, t.model, t.state, t.reason, c.verdict, b.dataset, b.norm, b.eps, b.protocol, c.n,
       b.clean_accuracy AS clean_before, a.clean_accuracy AS clean_after,
       b.robust_accuracy AS robust_before, a.robust_accuracy AS robust_after,
       c.difference, c.difference_low, c.difference_high, c.p_value,
       (SELECT gap FROM clusterings WHERE audit_id = b.id AND kind = 'weights') AS gap_before,
       (SELECT gap FROM clusterings WHERE audit_id = a.id AND kind = 'weights') AS gap_after,
       c.best_epoch, c.stopped, c.parent_sha256, c.weights_sha256, c.data_sha256,
       c.before_audit_id, c.after_audit_id, t.request, t.seconds, t.queued_at, t.started_at, t.finished_at
FROM trainings t
LEFT JOIN checkpoints c ON c.id = t.id
LEFT JOIN audits b ON b.id = c.before_audit_id
LEFT JOIN audits a ON a.id = c.after_audit_id
WHERE t.kind = 'boost'
"""


def upgrade() -> None:
    op.create_table(
        "trainings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("queue", sa.String(), server_default="here", nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("lease_seconds", sa.Double(), nullable=True),
        sa.Column("sent_at", TIME, nullable=True),
        sa.Column("cancelling", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("queued_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
    )
    unfinished = sa.text("state IN ('queued', 'running')")
    op.create_index(
        "ix_trainings_unfinished",
        "trainings",
        ["queue", "state"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("parent_sha256", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=False),
        sa.Column("data_sha256", sa.String(), nullable=False),
        sa.Column("best_epoch", sa.Integer(), nullable=False),
        sa.Column("stopped", sa.String(), nullable=True),
        sa.Column("before_audit_id", sa.Integer(), nullable=True),
        sa.Column("after_audit_id", sa.Integer(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=True),
        sa.Column("only_before", sa.Integer(), nullable=True),
        sa.Column("only_after", sa.Integer(), nullable=True),
        sa.Column("difference", sa.Double(), nullable=True),
        sa.Column("difference_low", sa.Double(), nullable=True),
        sa.Column("difference_high", sa.Double(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["id"], ["trainings.id"], name=op.f("fk_checkpoints_id_trainings"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["before_audit_id"], ["audits.id"], name=op.f("fk_checkpoints_before_audit_id_audits"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["after_audit_id"], ["audits.id"], name=op.f("fk_checkpoints_after_audit_id_audits"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    for name in ("before_audit_id", "after_audit_id"):
        op.create_index(op.f(f"ix_checkpoints_{name}"), "checkpoints", [name])
    _make_workers(training=True)
    op.execute(BOOSTS)


def downgrade() -> None:
    op.execute("DROP VIEW boosts")
    _make_workers(training=False)
    op.drop_table("checkpoints")
    op.drop_table("trainings")


def _make_workers(*, training: bool) -> None:
    """Anew, and empty: who lives says so within seconds. SQLite adds no foreign key to a table that is there."""
    op.drop_table("workers")
    own = (sa.Column("training_id", sa.Integer(), nullable=True),) if training else ()
    key = sa.ForeignKeyConstraint(
        ["training_id"], ["trainings.id"], name=op.f("fk_workers_training_id_trainings"), ondelete="SET NULL"
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("audit_id", sa.Integer(), nullable=True),
        *own,
        sa.Column("part", sa.String(), nullable=True),
        sa.Column("part_done", sa.Integer(), nullable=True),
        sa.Column("part_total", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_workers_audit_id_audits"), ondelete="SET NULL"
        ),
        *((key,) if training else ()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_audit_id"), "workers", ["audit_id"])
    if training:
        op.create_index(op.f("ix_workers_training_id"), "workers", ["training_id"])
