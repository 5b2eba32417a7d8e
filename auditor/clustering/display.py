"""Matrices as printed and web figures show them."""

import numpy as np

from auditor.records import Matrix

HEADINGS = {
    "weights": "C, linearized network",
    "centred": "C, centred",
    "deflated": "C without its leading direction",
    "features": "F, class means of the logits",
}


def by_row(matrix: Matrix) -> Matrix:
    """Distances ``(K, K)`` as shares of each row's largest, from 0 to 1, as the paper shows F; NaN stays."""
    largest = np.nan_to_num(matrix).max(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    shares[np.isnan(matrix)] = np.nan
    return shares
