"""Lower bounds of robustness: intervals and lines through small networks, and randomized smoothing for any model."""

from auditor.certify.certificates import certify_bounds
from auditor.certify.smoothing import certify_smoothing

__all__ = ["certify_bounds", "certify_smoothing"]
