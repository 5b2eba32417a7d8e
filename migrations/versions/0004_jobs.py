"""jobs: their zoo entries, leases, workers and attacks' progress; the latest audits; matrices may be pruned"""

import runpy
import struct
import zlib
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


LATEST = """
UPDATE audits SET {flag} = true WHERE id IN (
    SELECT id FROM (
        SELECT id, ROW_NUMBER() OVER (
            PARTITION BY model_id, dataset, protocol, norm, eps, linearization, sketch, samples
            ORDER BY confirmed_at DESC, id DESC
        ) AS age
        FROM audits WHERE state IN ({states})
    ) ranked WHERE age = 1
)
"""

TIME = sa.DateTime(timezone=True)
OF_SCANS = ("queue", "worker", "pending")
OF_AUDITS = ("entry", "queue", "losses", "worker", "lease_until", "sent_at", "cancelling", "latest", "latest_done")
KINDS = {
    "queue": (sa.String(), "here"),
    "pending": (sa.Integer(), "0"),
    "losses": (sa.Integer(), "0"),
    "latest": (sa.Boolean(), sa.false()),
    "latest_done": (sa.Boolean(), sa.false()),
    "entry": (sa.JSON(), None),
    "worker": (sa.String(), None),
    "cancelling": (sa.String(), None),
    "lease_until": (TIME, None),
    "sent_at": (TIME, None),
}
"""Type and default of each new column; those without a default may be NULL."""
INDEXES = (
    ("ix_audits_latest", ["model_id"], "latest"),
    ("ix_audits_latest_done", ["model_id"], "latest_done"),
    ("ix_audits_unfinished", ["queue", "state"], "state IN ('queued', 'running')"),
)
WORDS = {"latest": "latest = 1", "latest_done": "latest_done = 1"}
"""SQLite uses an index over a few rows only where a query asks for them in the same words, as SQLAlchemy says them."""


def upgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    for table, columns in (("scans", OF_SCANS), ("audits", OF_AUDITS)):
        for name in columns:
            kind, default = KINDS[name]
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    for flag, states in (("latest", "'done', 'failed'"), ("latest_done", "'done'")):
        op.execute(LATEST.format(flag=flag, states=states))
    op.execute(
        "UPDATE scans SET pending = (SELECT COUNT(*) FROM scan_audits s JOIN audits a ON a.id = s.audit_id "
        "WHERE s.scan_id = scans.id AND NOT s.reused AND a.state IN ('queued', 'running'))"
    )
    for name, columns, where in INDEXES:
        op.create_index(
            name, "audits", columns, sqlite_where=sa.text(WORDS.get(where, where)), postgresql_where=sa.text(where)
        )
    if op.get_bind().dialect.name == "postgresql":  # as lists sort; SQLite knows no such index, and its files are small
        op.create_index("ix_audits_started_at", "audits", [sa.text("started_at DESC NULLS LAST")])
    with op.batch_alter_table("clusterings") as clusterings:  # nothing hangs on these rows, they may be copied
        clusterings.alter_column("matrix", existing_type=sa.LargeBinary(), nullable=True)
    op.create_table(
        "attack_progress",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_attack_progress_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_attack_progress")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("audit_id", sa.Integer(), nullable=True),
        sa.Column("part", sa.String(), nullable=True),
        sa.Column("part_done", sa.Integer(), nullable=True),
        sa.Column("part_total", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_workers_audit_id_audits"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_audit_id"), "workers", ["audit_id"])
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.drop_table("workers")
    op.drop_table("attack_progress")
    _unprune()
    with op.batch_alter_table("clusterings") as clusterings:
        clusterings.alter_column("matrix", existing_type=sa.LargeBinary(), nullable=False)
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_audits_started_at", "audits")
    for name, _, _ in INDEXES:
        op.drop_index(name, "audits")
    for table, columns in (("audits", OF_AUDITS), ("scans", OF_SCANS)):
        for name in columns:
            op.drop_column(table, name)
    op.execute(leaderboard("0003"))


def _unprune() -> None:
    """What was pruned is gone, and 0003 has no word for that: a matrix of NaN stands for it, its scores are kept."""
    connection = op.get_bind()
    pruned = connection.execute(sa.text("SELECT id, size FROM clusterings WHERE matrix IS NULL")).all()
    for number, size in pruned:
        blank = zlib.compress(struct.pack("<f", float("nan")) * size**2)
        connection.execute(
            sa.text("UPDATE clusterings SET matrix = :blank WHERE id = :number"), {"blank": blank, "number": number}
        )
