"""counters that never decrease: expired leases, which were a sum over audits"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.execute("INSERT INTO counters (name, value) SELECT 'leases_expired', COALESCE(SUM(losses), 0) FROM audits")


def downgrade() -> None:
    op.drop_table("counters")
