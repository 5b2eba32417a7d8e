"""the certified accuracies in the view `leaderboard`"""

import runpy
from pathlib import Path

from alembic import op

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.execute(leaderboard(down_revision))
