"""models, scans and audits"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

leaderboard = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard.py"))["leaderboard"]


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("architecture", sa.JSON(), nullable=False),
        sa.Column("training", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "scans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scans")),
    )
    op.create_table(
        "audits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("threat_model", sa.String(), nullable=False),
        sa.Column("norm", sa.String(), nullable=False),
        sa.Column("eps", sa.Double(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=True),
        sa.Column("linearization", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("hierarchy", sa.String(), nullable=True),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("superclasses", sa.JSON(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=True),
        sa.Column("clean_accuracy", sa.Double(), nullable=True),
        sa.Column("robust_accuracy", sa.Double(), nullable=True),
        sa.Column("robust_low", sa.Double(), nullable=True),
        sa.Column("robust_high", sa.Double(), nullable=True),
        sa.Column("affinity_error", sa.Double(), nullable=True),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("not_measurable", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_audits_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
    )
    op.create_index("ix_audits_identity_state", "audits", ["identity", "state"], unique=False)
    op.create_index(
        "ix_audits_model_id_state_confirmed_at", "audits", ["model_id", "state", "confirmed_at"], unique=False
    )

    op.create_table(
        "attack_scores",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attack", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("broken", sa.Integer(), nullable=False),
        sa.Column("robust_accuracy", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_attack_scores_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attack_scores")),
        sa.UniqueConstraint("audit_id", "position", name=op.f("uq_attack_scores_audit_id")),
    )
    op.create_table(
        "clusterings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("intra", sa.Double(), nullable=True),
        sa.Column("inter", sa.Double(), nullable=True),
        sa.Column("gap", sa.Double(), nullable=True),
        sa.Column("silhouette", sa.Double(), nullable=True),
        sa.Column("rand_index", sa.Double(), nullable=True),
        sa.Column("cophenetic", sa.Double(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("effective_rank", sa.Double(), nullable=True),
        sa.Column("tree_spearman", sa.Double(), nullable=True),
        sa.Column("leaf_order", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("matrix", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_clusterings_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusterings")),
        sa.UniqueConstraint("audit_id", "kind", name=op.f("uq_clusterings_audit_id")),
    )
    op.create_table(
        "scan_audits",
        sa.Column("scan_id", sa.Integer(), nullable=False),
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_scan_audits_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["scan_id"], ["scans.id"], name=op.f("fk_scan_audits_scan_id_scans"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scan_id", "audit_id", name=op.f("pk_scan_audits")),
    )
    op.create_index(op.f("ix_scan_audits_audit_id"), "scan_audits", ["audit_id"], unique=False)

    op.create_table(
        "verdicts",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("indices", sa.LargeBinary(), nullable=False),
        sa.Column("correct", sa.LargeBinary(), nullable=False),
        sa.Column("survived", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name=op.f("fk_verdicts_audit_id_audits"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_verdicts")),
    )
    op.execute(leaderboard(revision))


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.drop_table("verdicts")
    op.drop_index(op.f("ix_scan_audits_audit_id"), table_name="scan_audits")

    op.drop_table("scan_audits")
    op.drop_table("clusterings")
    op.drop_table("attack_scores")
    op.drop_index("ix_audits_model_id_state_confirmed_at", table_name="audits")
    op.drop_index("ix_audits_identity_state", table_name="audits")

    op.drop_table("audits")
    op.drop_table("scans")
    op.drop_table("models")
