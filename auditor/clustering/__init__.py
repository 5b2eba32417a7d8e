"""Clustering: matrices and superclasses in, scores out."""

from auditor.clustering.matrices import centred, correlation, deflated, feature_distance
from auditor.clustering.scores import (
    RANK_COLLAPSE,
    clustering_scores,
    distance_scores,
    effective_rank,
)

__all__ = [
    "RANK_COLLAPSE",
    "centred",
    "clustering_scores",
    "correlation",
    "deflated",
    "distance_scores",
    "effective_rank",
    "feature_distance",
]
