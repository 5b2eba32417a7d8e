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

__all__ = [
    "RANK_COLLAPSE",
    "Association",
    "average_linkage",
    "centred",
    "clustering_scores",
    "correlation",
    "deflated",
    "distance_scores",
    "effective_rank",
    "feature_distance",
    "spearman",
]
