"""The SQL of the public view `leaderboard`, as each revision of the database has it; docs/database.md describes it."""

CLAIMS = """
           , p.clean_accuracy AS claimed_clean_accuracy,
           CASE WHEN p.norm = a.norm
                 AND (ABS(p.eps - a.eps) <= 0.001 * a.eps OR ABS(p.eps - ROUND(CAST(a.eps AS NUMERIC), 3)) < 1e-9)
                THEN p.robust_accuracy{corruptions} END AS claimed_robust_accuracy,
           CASE WHEN p.unreliable THEN 1 WHEN p.model IS NOT NULL THEN 0 END AS claimed_unreliable"""
"""A claim of robustness holds for its own norm and radius, with 0.031 for 8/255. The same rules in Python compare
published figures with results."""
MISMATCHES = """
           CASE WHEN ABS(clean_accuracy - claimed_clean_accuracy) > 0.02 - 1e-9
                 AND n * (clean_accuracy - claimed_clean_accuracy) * (clean_accuracy - claimed_clean_accuracy)
                     > 10.8276 * claimed_clean_accuracy * (1 - claimed_clean_accuracy)
                THEN 1 ELSE 0 END AS clean_accuracy_mismatch,
           CASE WHEN ABS(robust_accuracy - claimed_robust_accuracy) > 0.02 - 1e-9
                 AND n * (robust_accuracy - claimed_robust_accuracy) * (robust_accuracy - claimed_robust_accuracy)
                     > 10.8276 * claimed_robust_accuracy * (1 - claimed_robust_accuracy)
                 AND (protocol IN ('standard', 'full') OR robust_accuracy < claimed_robust_accuracy{corruptions})
                THEN 1 ELSE 0 END AS robust_accuracy_mismatch"""
"""10.8276 is the square of the normal quantile of 99.9 %."""
NEWEST = """a.state = 'done' AND NOT EXISTS (
        SELECT 1 FROM audits b
        WHERE b.model_id = a.model_id AND b.state = 'done'{dataset}
          AND b.protocol = a.protocol AND b.norm = a.norm AND b.eps = a.eps AND b.linearization = a.linearization
          {sketch}AND COALESCE(b.samples, -1) = COALESCE(a.samples, -1)
          AND (b.confirmed_at > a.confirmed_at OR (b.confirmed_at = a.confirmed_at AND b.id > a.id))
    )"""
"""Of each model under each setting, the audit that a scan confirmed last."""


OF_AUDIT = (
    "id", "threat_model", "norm", "eps", "protocol", "linearization", "hierarchy", "n", "clean_accuracy",
    "robust_accuracy", "robust_low", "robust_high", "affinity_error", "flags", "weights_sha256", "seconds", "device",
    "started_at",
)  # fmt: skip
"""By name: a view of all columns would stand in the way of dropping one that a later revision adds."""


def leaderboard(revision: str) -> str:
    """The statement that creates the view at a revision; what later ones added is left out.

    0002 brought published figures and data sets of audits, 0003 sketches, 0004 marks of the latest audits, 0008
    screenings, 0013 corruptions, 0015 attacks beyond a protocol, 0016 certified accuracies (in tables since 0014).
    """
    claims, sketches, marks, screenings, corruptions, extra, certified = (
        revision >= since for since in ("0002", "0003", "0004", "0008", "0013", "0015", "0016")
    )
    claimed = CLAIMS.format(
        corruptions=" WHEN a.norm = 'corruptions' THEN p.corruptions_accuracy" if corruptions else ""
    )
    mismatches = MISMATCHES.format(corruptions=" OR norm = 'corruptions'" if corruptions else "")
    newest = NEWEST.format(
        dataset=" AND b.dataset = a.dataset" if claims else "",
        sketch="AND COALESCE(b.sketch, -1) = COALESCE(a.sketch, -1) " if sketches else "",
    )
    ranked = "CAST(a.flags AS TEXT) = '[]'"
    if claims:
        ranked += " AND a.clean_accuracy_mismatch = 0 AND a.robust_accuracy_mismatch = 0"
    series = (", a.sketch" if sketches else "") + (", a.extra_attacks" if extra else "")
    columns = f"""
       a.model, a.source, {"a.dataset" if claims else "a.model_dataset AS dataset"},
       a.threat_model, a.norm, a.eps, a.protocol, a.linearization{series},
       a.hierarchy, a.n, a.clean_accuracy, a.robust_accuracy, a.robust_low, a.robust_high,
       {"e.certified_accuracy, e.smoothed_certified_accuracy," if certified else ""}
       {"a.claimed_clean_accuracy, a.claimed_robust_accuracy, a.claimed_unreliable," if claims else ""}
       c.intra, c.inter, c.gap,{" c.gap_error," if sketches else ""} c.silhouette, c.p_value, c.effective_rank,
       a.affinity_error,{" s.screen_score, s.margin, s.local_gap, s.data_margin," if screenings else ""} a.flags,
       {"a.clean_accuracy_mismatch, a.robust_accuracy_mismatch," if claims else ""}
       CASE WHEN {ranked} THEN 1 ELSE 0 END AS ranked,
       a.weights_sha256, a.seconds, a.device, a.started_at, a.id AS audit_id"""
    names = [*OF_AUDIT, *(["dataset"] if claims else []), *(["sketch"] if sketches else [])]
    names += ["extra_attacks"] if extra else []
    audit = ", ".join(f"a.{name}" for name in names)
    return f"""
CREATE VIEW leaderboard AS
WITH newest AS (
    SELECT {audit}, m.name AS model, m.source{claimed if claims else ", m.dataset AS model_dataset"}
    FROM audits a
    JOIN models m ON m.id = a.model_id
    {"LEFT JOIN published p ON p.model = m.name" if claims else ""}
    WHERE {"a.latest_done" if marks else newest}
), judged AS (
    SELECT newest.*{"," + mismatches if claims else ""}
    FROM newest
)
SELECT{columns}
FROM judged a
LEFT JOIN clusterings c ON c.audit_id = a.id AND c.kind = 'weights'
{"LEFT JOIN screenings s ON s.audit_id = a.id" if screenings else ""}
{"LEFT JOIN certificates e ON e.audit_id = a.id" if certified else ""}
"""
