"""Clustering: matrices and superclasses in, scores out.

Names that need more of SciPy than its special functions are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from auditor.clustering.association import Association, spearman
from auditor.clustering.matrices import centred, correlation, deflated, feature_distance

if TYPE_CHECKING:
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
_SCORES = ("RANK_COLLAPSE", "average_linkage", "clustering_scores", "distance_scores", "effective_rank")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "scores" if name in _SCORES else "sketch"
    return getattr(importlib.import_module(f"auditor.clustering.{room}"), name)
