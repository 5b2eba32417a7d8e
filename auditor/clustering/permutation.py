"""The permutation test of the gap: how often do shuffled superclass labels give a gap as large?"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from auditor.records import Matrix

_TIE = 1e-12  # relabellings that give the same gap differ by rounding only


def gap_p_value(distance: Matrix, labels: NDArray[np.int64], permutations: int, seed: int) -> float:
    """One-sided p-value of ``gap = inter - intra`` under relabelling, labels numbered from 0.

    Exact, over every distinct relabelling, where there are no more than ``permutations`` of them; else Monte
    Carlo, ``(1 + b) / (1 + m)``.
    """
    if _relabellings(labels) <= permutations:
        gaps = np.concatenate([_gaps(distance, batch) for batch in _batched(_all(labels))])
        return float(np.mean(gaps >= _gaps(distance, labels[None])[0] - _TIE))
    generator = np.random.default_rng(seed)
    observed = _gaps(distance, labels[None])[0]
    larger = 0
    for start in range(0, permutations, 500):
        count = min(500, permutations - start)
        shuffled = generator.permuted(np.tile(labels, (count, 1)), axis=1)
        larger += int((_gaps(distance, shuffled) >= observed - _TIE).sum())
    return (1 + larger) / (1 + permutations)


def _relabellings(labels: NDArray[np.int64]) -> int:
    """Distinct assignments of the labels to the classes: a multinomial coefficient."""
    count = math.factorial(len(labels))
    for size in np.bincount(labels):
        count //= math.factorial(int(size))
    return count


def _all(labels: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
    """Every distinct arrangement of the labels, each once."""
    sizes = np.bincount(labels)

    def extend(arrangement: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(arrangement) == len(labels):
            yield arrangement
            return
        for label in range(len(sizes)):
            if sizes[label]:
                sizes[label] -= 1
                yield from extend((*arrangement, label))
                sizes[label] += 1

    return extend(())


def _batched(arrangements: Iterator[tuple[int, ...]]) -> Iterator[NDArray[np.int64]]:
    batch: list[tuple[int, ...]] = []
    for arrangement in arrangements:
        batch.append(arrangement)
        if len(batch) == 500:
            yield np.array(batch)
            batch = []
    if batch:
        yield np.array(batch)


def _gaps(distance: Matrix, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The gap under each of ``(P, K)`` labellings."""
    off = distance - np.diag(np.diagonal(distance))
    families = [(labels == family).astype(np.float64) for family in range(int(labels.max()) + 1)]
    within = np.sum([np.einsum("pk,kl,pl->p", f, off, f, optimize=True) for f in families], axis=0)
    sizes = np.bincount(labels[0])
    inside = float((sizes * (sizes - 1)).sum())
    outside = float(len(off) * (len(off) - 1)) - inside
    gaps: NDArray[np.float64] = (off.sum() - within) / outside - within / inside
    return gaps
