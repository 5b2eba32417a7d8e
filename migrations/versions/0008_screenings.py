"""screenings of models"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


def upgrade() -> None:
    op.create_table(
        "screenings",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("screen_score", sa.Double(), nullable=True),
        sa.Column("margin", sa.Double(), nullable=True),
        sa.Column("local_gap", sa.Double(), nullable=True),
        sa.Column("data_margin", sa.Double(), nullable=True),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_screenings_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_screenings")),
    )
    op.execute("DROP VIEW leaderboard")
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.drop_table("screenings")
    op.execute(leaderboard("0007"))
