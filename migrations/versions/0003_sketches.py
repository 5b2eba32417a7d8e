"""sketches of C, with the standard error of their gaps"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


def upgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.add_column("audits", sa.Column("sketch", sa.Integer(), nullable=True))
    op.add_column("clusterings", sa.Column("gap_error", sa.Double(), nullable=True))
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    # Without the column a sketch would pass for an exact result, and as the newest one: it is kept, but not done.
    op.execute(
        "UPDATE audits SET state = 'cancelled', reason = 'a sketch of ' || sketch || ' probes, not known to 0002' "
        "WHERE sketch IS NOT NULL"
    )
    # Not in batches, in which SQLite would copy the tables, and what hangs on them would go with the old ones.
    op.drop_column("clusterings", "gap_error")
    op.drop_column("audits", "sketch")
    op.execute(leaderboard("0002"))
