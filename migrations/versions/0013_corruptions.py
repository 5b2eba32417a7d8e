"""accuracies under common corruptions, and the published ones in the view `leaderboard`"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "corruptions",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("corruption", sa.String(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_right", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("verdicts", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_corruptions_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit_id", "corruption", "severity", name=op.f("pk_corruptions")),
    )
    op.execute("DROP VIEW leaderboard")
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    # An older auditor would take their accuracy for one under attacks: they are kept, but not done.
    op.execute(
        "UPDATE audits SET state = 'cancelled', reason = 'under ' || norm || ', not known to 0012', "
        "latest = false, latest_done = false WHERE norm IN ('corruptions', 'corruptions_generated', 'corruptions_3d')"
    )
    op.execute(leaderboard(down_revision))
    op.drop_table("corruptions")
