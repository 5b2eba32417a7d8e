"""The columns of the public views, which the migrations make; docs/database.md describes them."""

LEADERBOARD = (
    "model", "source", "dataset", "threat_model", "norm", "eps", "protocol", "linearization", "sketch", "extra_attacks",
    "hierarchy",
    "n", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high",
    "certified_accuracy", "smoothed_certified_accuracy",
    "claimed_clean_accuracy", "claimed_robust_accuracy", "claimed_unreliable",
    "intra", "inter", "gap", "gap_error", "silhouette", "p_value", "effective_rank", "affinity_error",
    "screen_score", "margin", "local_gap", "data_margin",
    "flags", "clean_accuracy_mismatch", "robust_accuracy_mismatch", "ranked",
    "weights_sha256", "seconds", "device", "started_at", "audit_id",
)  # fmt: skip
"""The columns of the view ``leaderboard``, which the migrations make."""

BOOSTS = (
    "id", "model", "state", "reason", "verdict", "dataset", "norm", "eps", "protocol", "n",
    "clean_before", "clean_after", "robust_before", "robust_after",
    "difference", "difference_low", "difference_high", "p_value", "gap_before", "gap_after",
    "best_epoch", "stopped", "parent_sha256", "weights_sha256", "data_sha256", "before_audit_id", "after_audit_id",
    "request", "seconds", "queued_at", "started_at", "finished_at",
)  # fmt: skip
"""The columns of the view ``boosts``, which the migrations make."""
