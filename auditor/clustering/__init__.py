"""Clustering: matrices and superclasses in, scores out."""

from auditor.clustering.association import Association, spearman
from auditor.clustering.matrices import centred, correlation, deflated, feature_distance
from auditor.clustering.scores import (
    RANK_COLLAPSE,
    average_linkage,
    clustering_scores,
    distance_scores,
    effective_rank,
)
from auditor.clustering.sketch import (
    centred_responses,
    deflated_responses,
    gap_error,
    sketched_correlation,
    sketched_rank,
)

__all__ = [
    "RANK_COLLAPSE",
    "Association",
    "average_linkage",
    "centred",
    "centred_responses",
    "clustering_scores",
    "correlation",
    "deflated",
    "deflated_responses",
    "distance_scores",
    "effective_rank",
    "feature_distance",
    "gap_error",
    "sketched_correlation",
    "sketched_rank",
    "spearman",
]
