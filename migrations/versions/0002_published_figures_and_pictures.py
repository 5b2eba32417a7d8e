"""published figures, which pictures and data set an audit saw, and where a local model lies"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As in 0001, with what was published beside it. A claim of robustness holds for its own norm and radius, with 0.031 for
# 8/255 (auditor/db/claims.py has the same rules in Python). 10.8276 is the square of the normal quantile of 99.9 %.
LEADERBOARD = """
CREATE VIEW leaderboard AS
WITH newest AS (
    SELECT a.*, m.name AS model, m.source, p.clean_accuracy AS claimed_clean_accuracy,
           CASE WHEN p.norm = a.norm
                 AND (ABS(p.eps - a.eps) <= 0.001 * a.eps OR ABS(p.eps - ROUND(CAST(a.eps AS NUMERIC), 3)) < 1e-9)
                THEN p.robust_accuracy END AS claimed_robust_accuracy,
           CASE WHEN p.unreliable THEN 1 WHEN p.model IS NOT NULL THEN 0 END AS claimed_unreliable
    FROM audits a
    JOIN models m ON m.id = a.model_id
    LEFT JOIN published p ON p.model = m.name
    WHERE a.state = 'done' AND NOT EXISTS (
        SELECT 1 FROM audits b
        WHERE b.model_id = a.model_id AND b.state = 'done' AND b.dataset = a.dataset
          AND b.protocol = a.protocol AND b.norm = a.norm AND b.eps = a.eps AND b.linearization = a.linearization
          AND COALESCE(b.samples, -1) = COALESCE(a.samples, -1)
          AND (b.confirmed_at > a.confirmed_at OR (b.confirmed_at = a.confirmed_at AND b.id > a.id))
    )
), judged AS (
    SELECT newest.*,
           CASE WHEN ABS(clean_accuracy - claimed_clean_accuracy) > 0.02 - 1e-9
                 AND n * (clean_accuracy - claimed_clean_accuracy) * (clean_accuracy - claimed_clean_accuracy)
                     > 10.8276 * claimed_clean_accuracy * (1 - claimed_clean_accuracy)
                THEN 1 ELSE 0 END AS clean_accuracy_mismatch,
           CASE WHEN ABS(robust_accuracy - claimed_robust_accuracy) > 0.02 - 1e-9
                 AND n * (robust_accuracy - claimed_robust_accuracy) * (robust_accuracy - claimed_robust_accuracy)
                     > 10.8276 * claimed_robust_accuracy * (1 - claimed_robust_accuracy)
                 AND (protocol IN ('standard', 'full') OR robust_accuracy < claimed_robust_accuracy)
                THEN 1 ELSE 0 END AS robust_accuracy_mismatch
    FROM newest
)
SELECT a.model, a.source, a.dataset, a.threat_model, a.norm, a.eps, a.protocol, a.linearization, a.hierarchy,
       a.n, a.clean_accuracy, a.robust_accuracy, a.robust_low, a.robust_high,
       a.claimed_clean_accuracy, a.claimed_robust_accuracy, a.claimed_unreliable,
       c.intra, c.inter, c.gap, c.silhouette, c.p_value, c.effective_rank, a.affinity_error,
       a.flags, a.clean_accuracy_mismatch, a.robust_accuracy_mismatch,
       CASE WHEN CAST(a.flags AS TEXT) = '[]' AND a.clean_accuracy_mismatch = 0 AND a.robust_accuracy_mismatch = 0
            THEN 1 ELSE 0 END AS ranked,
       a.weights_sha256, a.seconds, a.device, a.started_at, a.id AS audit_id
FROM judged a
LEFT JOIN clusterings c ON c.audit_id = a.id AND c.kind = 'weights'
"""


def upgrade() -> None:
    op.create_table(
        "published",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("norm", sa.String(), nullable=True),
        sa.Column("eps", sa.Double(), nullable=True),
        sa.Column("clean_accuracy", sa.Double(), nullable=True),
        sa.Column("robust_accuracy", sa.Double(), nullable=True),
        sa.Column("autoattack_accuracy", sa.Double(), nullable=True),
        sa.Column("external_accuracy", sa.Double(), nullable=True),
        sa.Column("corruptions_accuracy", sa.Double(), nullable=True),
        sa.Column("unreliable", sa.Boolean(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=True),
        sa.Column("paper", sa.String(), nullable=True),
        sa.Column("venue", sa.String(), nullable=True),
        sa.Column("link", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_published")),
    )
    op.add_column("audits", sa.Column("images_sha256", sa.String(), nullable=True))
    # SQLite makes a filled column NOT NULL only by copying the table, and what hangs on the old one would go with it:
    # there the default stays.
    op.add_column("audits", sa.Column("dataset", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE audits SET dataset = (SELECT m.dataset FROM models m WHERE m.id = audits.model_id)")
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("audits", "dataset", server_default=None)
    op.add_column("models", sa.Column("place", sa.String(), nullable=True))
    op.add_column("verdicts", sa.Column("pictures", sa.LargeBinary(), nullable=True))
    op.execute("DROP VIEW leaderboard")
    op.execute(LEADERBOARD)


def downgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    # Not in batches, in which SQLite would copy the tables, too.
    op.drop_column("verdicts", "pictures")
    op.drop_column("models", "place")
    op.drop_column("audits", "dataset")
    op.drop_column("audits", "images_sha256")
    op.drop_table("published")
    before = runpy.run_path(str(Path(__file__).with_name("0001_models_scans_and_audits.py")))
    op.execute(before["LEADERBOARD"])
