"""classes of verdicts: the true one, the predicted one, and the attack that broke the sample; targeted attacks"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = ("labels", "predicted", "broken_at")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("verdicts", sa.Column(name, sa.LargeBinary(), nullable=True))
    op.add_column("audits", sa.Column("targeted", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("audits", "targeted")
    for name in reversed(COLUMNS):
        op.drop_column("verdicts", name)
