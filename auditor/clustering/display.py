"""Matrices as printed and web figures show them."""

import math

import numpy as np
from numpy.typing import NDArray

from auditor.records import ClusteringScores, Matrix
from auditor.text.numbers import MINUS, number, p_equation


def by_row(matrix: Matrix) -> Matrix:
    """Distances ``(K, K)`` as shares of each row's largest, from 0 to 1, as the paper shows F; NaN stays."""
    largest = np.nan_to_num(matrix).max(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    shares[np.isnan(matrix)] = np.nan
    return shares


def shares_by_row(counts: NDArray[np.int64]) -> Matrix:
    """Counts ``(K, K)`` as shares of each row's sum; NaN in a row without any.

    Example:
        >>> shares_by_row(np.array([[3, 1], [0, 2]])).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    sums = counts.sum(axis=1, keepdims=True)
    shares: Matrix = counts / np.where(sums > 0, sums, np.nan)
    return shares


def as_similarity(success: Matrix) -> Matrix:
    """Attack success ``(K, K)`` as a similarity: its mean with its transpose, by the largest entry; the diagonal is 1.

    Example:
        >>> as_similarity(np.array([[0, 0.5], [0.3, 0]])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    mean = (success + success.T) / 2
    largest = np.nanmax(mean, initial=0)
    similarity: Matrix = mean / largest if largest > 0 else mean
    np.fill_diagonal(similarity, 1)
    return similarity


def scores_line(scores: ClusteringScores, *, error: bool = False) -> str:
    """The scores under a matrix; with ``error`` also the standard error of a sketch's gap."""
    plus_minus = f" ± {number(scores.gap_error, 3)}" if error and not math.isnan(scores.gap_error) else ""
    gap, intra, inter = (number(value, minus=MINUS) for value in (scores.gap, scores.intra, scores.inter))
    return f"gap {gap}{plus_minus} ({p_equation(scores.p_value)}), intra {intra}, inter {inter}"
