"""an index for the newest audits, on SQLite as on PostgreSQL"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":  # PostgreSQL has ix_audits_started_at
        op.create_index("ix_audits_newest", "audits", ["started_at"])


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.drop_index("ix_audits_newest", "audits")
