"""Robustness boosting: the clustering regularizer and the training loop around it."""

from auditor.boost.regularizers import cluster_regularizer

__all__ = ["cluster_regularizer"]
