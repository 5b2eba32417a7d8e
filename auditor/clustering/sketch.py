"""Matrices to score, from responses W r to random images, and the standard errors of their scores."""

import functools
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from auditor.clustering.matrices import correlation
from auditor.errors import InputError
from auditor.records import Matrix

GROUPS = 16
"""The number of groups of probes that the jackknife leaves out, one after the other."""


def sketched_correlation(responses: ArrayLike) -> Matrix:
    """C estimated from ``(R, K)`` responses: ``(K, K)`` in [-1, 1], NaN in the row and column of a zero template.

    The standard error of an entry c is about ``(1 - c²) / sqrt(R)``.
    """
    rows = _checked(responses)
    return correlation(rows.T @ rows)


def centred_responses(responses: ArrayLike) -> Matrix:
    """Responses of ``w_k - mean_j w_j``, ``(R, K)``; 0 for a class of which only rounding noise remains."""
    rows = _checked(responses)
    result: Matrix = rows - rows.mean(1, keepdims=True)
    result[:, (result**2).sum(0) < 1e-13 * (rows**2).sum(0).max(initial=0)] = 0
    return result


def deflated_responses(responses: ArrayLike) -> Matrix:
    """Responses of the unit templates without their leading common direction, ``(R, K)``.

    Their correlation is :func:`auditor.clustering.deflated` of the responses' correlation; rounding noise
    is amplified, so pass responses of a network in float64. All NaN if a template is 0.
    """
    unit = _unit(_checked(responses))
    if not np.isfinite(unit).all():
        return np.full_like(unit, np.nan)
    left, values, right = np.linalg.svd(unit, full_matrices=False)
    result: Matrix = unit - values[0] * np.outer(left[:, 0], right[0])
    result[:, np.linalg.norm(result, axis=0) <= 1e-6] = 0  # less is rounding noise
    return result


def sketched_rank(responses: ArrayLike, *, lost: int = 0) -> float:
    """The effective rank of C without the noise of ``responses``, in [1, K]; NaN if a template is 0.

    Noise adds 1/R to the square of each entry of C, which would cap the rank at R. Squares are therefore estimated
    without bias: as responses to normal probes are jointly normal, by the formula of Olkin and Pratt (1958) for a
    squared correlation. ``lost``: the number of directions that were removed from the responses.
    """
    c = sketched_correlation(responses)
    if not np.isfinite(c).all():
        return math.nan
    number, rest = len(np.asarray(responses)) - lost, np.clip(1 - c**2, 0, 1)
    squares = 1 - (number - 2) / (number - 1) * rest * _hypergeometric((number + 1) / 2, rest)
    np.fill_diagonal(squares, 1)
    classes, total = len(c), squares.sum()
    return float(classes) if total <= classes else float(max(1, classes**2 / total))


def gap_error(
    responses: ArrayLike,
    superclasses: Sequence[Hashable],
    *,
    prepare: Callable[[Matrix], Matrix] | None = None,
    groups: int = GROUPS,
) -> float:
    """Standard error of the gap that ``(R, K)`` responses give; NaN if the gap is undefined.

    A jackknife that leaves out one group of probes after the other, with weights for groups that are not of the same
    size (Busing, Meijer and van der Leeden, 1999).

    Args:
        responses: one row a probe.
        superclasses: K labels, one a class.
        prepare: a function of the responses before their gap is computed, for example :func:`deflated_responses`.
        groups: the number of groups; at most one per probe.

    Raises:
        InputError: the responses are not ``(R, K)`` with K labels, or there are fewer than two probes.
    """
    rows = _checked(responses)
    if rows.shape[1] != len(superclasses) or len(rows) < 2:
        raise InputError(
            f"expected responses (R, K) of two or more probes and K superclass labels, got {rows.shape} and "
            f"{len(superclasses)}"
        )
    members = _members(superclasses)

    def gap(rows: Matrix) -> float:
        return _gap(rows if prepare is None else prepare(rows), members)

    estimate, number = gap(rows), len(rows)
    parts = np.array_split(np.arange(number), min(groups, number))
    shares = np.array([number / len(part) for part in parts])
    without = np.array([gap(np.delete(rows, part, axis=0)) for part in parts])
    pseudo = shares * estimate - (shares - 1) * without
    centre = len(parts) * estimate - ((1 - 1 / shares) * without).sum()
    return float(np.sqrt(np.mean((pseudo - centre) ** 2 / (shares - 1))))


_GRID = np.linspace(0, 1, 4097)


def _hypergeometric(c: float, z: Matrix) -> Matrix:
    """The series ``2F1(1, 1; c; z)`` for z in [0, 1] and c of 3.5 or more; SciPy's overflows for large c."""
    return np.interp(z, _GRID, _series(c))


@functools.cache
def _series(c: float) -> Matrix:
    """Its values on the grid."""
    total, term = np.ones_like(_GRID), np.ones_like(_GRID)
    for k in range(4000):
        term = term * _GRID * (k + 1) / (c + k)
        total += term
        if term[-1] < 1e-12:
            break
    return total


def _checked(responses: ArrayLike) -> Matrix:
    rows = np.asarray(responses, np.float64)
    if rows.ndim != 2:
        raise InputError(f"expected responses (R, K), one row a probe, got an array of shape {rows.shape}")
    return rows


def _unit(rows: Matrix) -> Matrix:
    sizes = np.linalg.norm(rows, axis=0)
    result: Matrix = rows / np.where(sizes > 0, sizes, np.nan)
    return result


def _members(superclasses: Sequence[Hashable]) -> Matrix:
    """``(K, S)``: 1 where a class is in a superclass."""
    families = list(dict.fromkeys(superclasses))
    return np.array([[float(label == family) for family in families] for label in superclasses])


def _gap(rows: Matrix, members: Matrix) -> float:
    """Siblings' mean correlation minus strangers', from sums over superclasses: C itself is not needed."""
    unit, sizes = _unit(rows), members.sum(0)
    classes = len(members)
    inside, outside = float((sizes * (sizes - 1)).sum()), float(classes**2 - (sizes**2).sum())
    if not inside or not outside:
        return math.nan
    within = float(((unit @ members) ** 2).sum())
    total = float((unit.sum(1) ** 2).sum())
    return (within - classes) / inside - (total - within) / outside
