"""indices of the numbers that lists of all audits are sorted by"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SORTED = {
    "audits": ("clean_accuracy", "robust_accuracy", "n", "seconds"),
    "clusterings": ("intra", "inter", "gap", "silhouette", "p_value", "effective_rank"),
    "screenings": ("screen_score", "margin", "local_gap", "data_margin"),
    "certificates": ("certified_accuracy", "smoothed_certified_accuracy"),
}


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":  # an index that is read in both directions, as on SQLite
        op.drop_index("ix_audits_started_at", "audits")
        op.create_index("ix_audits_newest", "audits", ["started_at"])
    for table, columns in SORTED.items():
        for column in columns:
            of_weights = "kind = 'weights' AND " if table == "clusterings" else ""
            where = sa.text(f"{of_weights}{column} IS NOT NULL")
            op.create_index(f"ix_{table}_{column}", table, [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for table, columns in SORTED.items():
        for column in columns:
            op.drop_index(f"ix_{table}_{column}", table)
    if op.get_context().dialect.name == "postgresql":
        op.drop_index("ix_audits_newest", "audits")
        op.create_index("ix_audits_started_at", "audits", [sa.text("started_at DESC NULLS LAST")])
