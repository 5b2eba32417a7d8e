"""Matrices to score, from a Gram matrix of class templates or from features."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from auditor.errors import InputError, first_line
from auditor.records import Matrix


def as_matrix(values: ArrayLike) -> Matrix:
    """Numbers as a float64 array.

    Raises:
        InputError: a value is not a real number, or rows differ in length.
    """
    try:
        found = np.asarray(getattr(values, "detach", lambda: values)())
        if np.iscomplexobj(found):
            raise InputError("expected real numbers, got complex ones")
        return found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a matrix of numbers, got a {type(values).__name__}: {first_line(error)}") from error


def checked_labels(labels: Sequence[Hashable]) -> int:
    """The number of labels.

    Raises:
        InputError: it is not a sequence of hashable labels.
    """
    try:
        return len(dict.fromkeys(enumerate(labels)))
    except TypeError as error:
        raise InputError(f"expected one label a class, strings or numbers: {first_line(error)}") from error


def correlation(gram: ArrayLike) -> Matrix:
    """Cosine similarities from ``W Wᵀ``: ``(K, K)`` in [-1, 1], NaN in the row and column of a zero template.

    Example:
        >>> correlation([[4, 1], [1, 1]]).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    gram = np.asarray(gram, np.float64)
    sizes = np.sqrt(np.maximum(np.diagonal(gram), 0))
    sizes = np.where(sizes > 0, sizes, np.nan)
    result: Matrix = np.clip(gram / np.outer(sizes, sizes), -1, 1)
    return result


def centred(gram: ArrayLike) -> Matrix:
    """The Gram matrix of ``w_k - mean_j w_j``: softmax ignores a value that is added to all logits."""
    gram = np.asarray(gram, np.float64)
    largest = np.diagonal(gram).max(initial=0)
    result: Matrix = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    # Of equal templates only rounding noise remains, which has no meaningful direction.
    noise = np.diagonal(result) < 1e-13 * largest
    result[noise] = result[:, noise] = 0
    return result


def deflated(correlation: ArrayLike) -> Matrix:
    """C of the unit templates without their leading common direction, rows normalized again.

    Rounding noise of ``correlation`` is amplified, so pass one that was computed in float64.
    """
    values, vectors = np.linalg.eigh(np.asarray(correlation, np.float64))
    rest = (vectors[:, :-1] * values[:-1]) @ vectors[:, :-1].T
    sizes = np.sqrt(np.maximum(np.diagonal(rest), 0))
    sizes = np.where(sizes > 1e-6, sizes, np.nan)  # a smaller size is rounding noise of C
    result: Matrix = np.clip(rest / np.outer(sizes, sizes), -1, 1)
    return result


def feature_distance(features: ArrayLike, labels: ArrayLike, classes: int) -> Matrix:
    """``F_ij``: the mean squared difference of the mean features of classes i and j (Bai et al., 2021).

    Args:
        features: ``(N, d)``; the paper takes the logits of the original network.
        labels: ``(N,)`` from 0 to ``classes - 1``.

    Returns:
        ``(K, K)``, symmetric, 0 or more; NaN in the row and column of a class without samples.

    Raises:
        InputError: shapes do not match, or a label is out of range.

    Example:
        >>> feature_distance([[0.0, 0.0], [2.0, 2.0]], [0, 1], classes=2).tolist()
        [[0.0, 4.0], [4.0, 0.0]]
    """
    features, labels = as_matrix(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise InputError(f"expected features (N, d) and labels (N,), got {features.shape} and {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(f"expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    means = np.full((classes, features.shape[1]), np.nan)
    for k in np.unique(labels):
        means[k] = features[labels == k].mean(0)
    squares = (means**2).mean(1)
    distances = squares[:, None] + squares - 2 * means @ means.T / features.shape[1]
    np.fill_diagonal(distances, np.where(np.isnan(squares), np.nan, 0))
    result: Matrix = np.maximum(distances, 0)
    return result
