"""pictures of templates, and the files of adversarial images"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("probes", sa.Integer(), nullable=True),
        sa.Column("size", sa.JSON(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("scales", sa.LargeBinary(), nullable=False),
        sa.Column("pixels", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_templates_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit_id", "kind", name=op.f("pk_templates")),
    )
    op.add_column("audits", sa.Column("adversarials", sa.String(), nullable=True))


def downgrade() -> None:
    # Not in batches, in which SQLite would copy the table, and what hangs on it would go with the old one.
    op.drop_column("audits", "adversarials")
    op.drop_table("templates")
