"""Matrices as printed and web figures show them."""

import math

import numpy as np

from auditor.records import ClusteringScores, Matrix
from auditor.text.numbers import MINUS, number, p_equation


def by_row(matrix: Matrix) -> Matrix:
    """Distances ``(K, K)`` as shares of each row's largest, from 0 to 1, as the paper shows F; NaN stays."""
    largest = np.nan_to_num(matrix).max(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    shares[np.isnan(matrix)] = np.nan
    return shares


def scores_line(scores: ClusteringScores, *, error: bool = False) -> str:
    """The scores under a matrix; with ``error`` also the standard error of a sketch's gap."""
    plus_minus = f" ± {number(scores.gap_error, 3)}" if error and not math.isnan(scores.gap_error) else ""
    gap, intra, inter = (number(value, minus=MINUS) for value in (scores.gap, scores.intra, scores.inter))
    return f"gap {gap}{plus_minus} ({p_equation(scores.p_value)}), intra {intra}, inter {inter}"
