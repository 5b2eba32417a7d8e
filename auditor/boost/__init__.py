"""Robustness boosting: the clustering regularizers, the training loop around them, and fine-tuning."""

from auditor.boost.fine_tuning import FineTuned, fine_tune
from auditor.boost.regularizers import cluster_regularizer, linear_regularizer

__all__ = ["FineTuned", "cluster_regularizer", "fine_tune", "linear_regularizer"]
