"""published figures, which pictures and data set an audit saw, and where a local model lies"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


def upgrade() -> None:
    op.create_table(
        "published",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("norm", sa.String(), nullable=True),
        sa.Column("eps", sa.Double(), nullable=True),
        sa.Column("clean_accuracy", sa.Double(), nullable=True),
        sa.Column("robust_accuracy", sa.Double(), nullable=True),
        sa.Column("autoattack_accuracy", sa.Double(), nullable=True),
        sa.Column("external_accuracy", sa.Double(), nullable=True),
        sa.Column("corruptions_accuracy", sa.Double(), nullable=True),
        sa.Column("unreliable", sa.Boolean(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=True),
        sa.Column("paper", sa.String(), nullable=True),
        sa.Column("venue", sa.String(), nullable=True),
        sa.Column("link", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_published")),
    )
    op.add_column("audits", sa.Column("images_sha256", sa.String(), nullable=True))
    # SQLite makes a filled column NOT NULL only by copying the table, and what hangs on the old one would go with it:
    # there the default stays.
    op.add_column("audits", sa.Column("dataset", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE audits SET dataset = (SELECT m.dataset FROM models m WHERE m.id = audits.model_id)")
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("audits", "dataset", server_default=None)
    op.add_column("models", sa.Column("place", sa.String(), nullable=True))
    op.add_column("verdicts", sa.Column("pictures", sa.LargeBinary(), nullable=True))
    op.execute("DROP VIEW leaderboard")
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    # Not in batches, in which SQLite would copy the tables, too.
    op.drop_column("verdicts", "pictures")
    op.drop_column("models", "place")
    op.drop_column("audits", "dataset")
    op.drop_column("audits", "images_sha256")
    op.drop_table("published")
    op.execute(leaderboard("0001"))
