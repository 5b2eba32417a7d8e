"""attacks of users, beyond those of a protocol: such results are of a series of their own"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


def upgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.add_column("audits", sa.Column("extra_attacks", sa.String(), nullable=True))
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    # Without the column such a result would pass for one of its protocol: it is kept, but not done.
    op.execute(
        "UPDATE audits SET state = 'cancelled', reason = 'with ' || extra_attacks || ', not known to 0014', "
        "latest = false, latest_done = false WHERE extra_attacks IS NOT NULL"
    )
    op.drop_column("audits", "extra_attacks")
    op.execute(leaderboard(down_revision))
