"""sketches of C, with the standard error of their gaps"""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As in 0002, with a newest result for each number of probes beside that of the exact C.
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
          AND COALESCE(b.sketch, -1) = COALESCE(a.sketch, -1) AND COALESCE(b.samples, -1) = COALESCE(a.samples, -1)
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
SELECT a.model, a.source, a.dataset, a.threat_model, a.norm, a.eps, a.protocol, a.linearization, a.sketch,
       a.hierarchy, a.n, a.clean_accuracy, a.robust_accuracy, a.robust_low, a.robust_high,
       a.claimed_clean_accuracy, a.claimed_robust_accuracy, a.claimed_unreliable,
       c.intra, c.inter, c.gap, c.gap_error, c.silhouette, c.p_value, c.effective_rank, a.affinity_error,
       a.flags, a.clean_accuracy_mismatch, a.robust_accuracy_mismatch,
       CASE WHEN CAST(a.flags AS TEXT) = '[]' AND a.clean_accuracy_mismatch = 0 AND a.robust_accuracy_mismatch = 0
            THEN 1 ELSE 0 END AS ranked,
       a.weights_sha256, a.seconds, a.device, a.started_at, a.id AS audit_id
FROM judged a
LEFT JOIN clusterings c ON c.audit_id = a.id AND c.kind = 'weights'
"""


def upgrade() -> None:
    op.execute("DROP VIEW leaderboard")
    op.add_column("audits", sa.Column("sketch", sa.Integer(), nullable=True))
    op.add_column("clusterings", sa.Column("gap_error", sa.Double(), nullable=True))
    op.execute(LEADERBOARD)


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
    before = runpy.run_path(str(Path(__file__).with_name("0002_published_figures_and_pictures.py")))
    op.execute(before["LEADERBOARD"])
