"""The permutation test of the gap: the share of shuffled superclass labels that give a gap at least as large."""

import functools
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
    gaps = _Gaps(distance, labels)
    if _relabellings(labels) <= permutations:
        every = np.concatenate([gaps.under(batch) for batch in _batches(labels)])
        return float(np.mean(every >= gaps.under(labels[None])[0] - _TIE))
    generator = np.random.default_rng(seed)
    observed = gaps.under(labels[None])[0]
    larger = 0
    for start in range(0, permutations, 500):
        count = min(500, permutations - start)
        shuffled = generator.permuted(np.tile(labels, (count, 1)), axis=1)
        larger += int((gaps.under(shuffled) >= observed - _TIE).sum())
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


_MOST_KEPT = 10_000


def _batches(labels: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """All distinct arrangements of the labels in batches; a few thousand are kept for the next matrix."""
    if _relabellings(labels) > _MOST_KEPT:
        yield from _batched(_all(labels))
        return
    arrangements = _kept(tuple(np.bincount(labels).tolist()))
    for start in range(0, len(arrangements), 500):
        yield arrangements[start : start + 500]


@functools.lru_cache(maxsize=8)
def _kept(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    arrangements = np.array(list(_all(np.repeat(np.arange(len(sizes)), sizes))))
    arrangements.flags.writeable = False  # all callers share it
    return arrangements


def _batched(arrangements: Iterator[tuple[int, ...]]) -> Iterator[NDArray[np.int64]]:
    batch: list[tuple[int, ...]] = []
    for arrangement in arrangements:
        batch.append(arrangement)
        if len(batch) == 500:
            yield np.array(batch)
            batch = []
    if batch:
        yield np.array(batch)


_FEW = 0.09  # share of all classes up to which looking up a family's pairs is cheaper than a matrix product
_BLOCK = 128


class _Gaps:
    """The gap of one distance matrix under many labellings with the same family sizes.

    The sum within a family is looked up pair by pair if the family or its complement is small, and is a matrix product
    otherwise. A family of one class has no pairs. Families of one size are looked up together.
    """

    def __init__(self, distance: Matrix, labels: NDArray[np.int64]) -> None:
        count = len(labels)
        off = distance - np.diag(np.diagonal(distance))
        self.both = off + off.T  # an unordered pair's two distances
        self.flat = self.both.ravel()
        self.upper = np.triu(self.both)
        self.rows = self.both.sum(1)
        self.total = float(off.sum())
        sizes = np.bincount(labels)
        self.inside = float((sizes * (sizes - 1)).sum())
        self.outside = float(count * (count - 1)) - self.inside
        order = np.argsort(sizes, kind="stable")
        self.by_size = np.empty(len(sizes), np.uint16 if len(sizes) <= 2**16 else np.int64)  # 16 bits sort fastest
        self.by_size[order] = np.arange(len(sizes))
        self.sizes = sizes[order]

    def under(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """The gap under each of ``(P, K)`` labellings."""
        count = labels.shape[1]
        # The classes of the smallest family first, then those of the next one.
        classes = np.argsort(self.by_size[labels], axis=1, kind="stable")
        within = np.zeros(len(labels))
        start = 0
        for size, families in zip(*np.unique(self.sizes, return_counts=True), strict=True):
            stop = start + int(size * families)
            members = classes[:, start:stop].reshape(len(labels), families, size)
            if size <= _FEW * count:
                within += self._looked_up(members)
            elif count - size <= _FEW * count:
                others = np.concatenate([classes[:, :start], classes[:, stop:]], axis=1)
                within += self.total - self.rows[others].sum(1) + self._looked_up(others[:, None])
            else:
                for family in range(families):
                    within += self._product(members[:, family])
            start = stop
        gaps: NDArray[np.float64] = (self.total - within) / self.outside - within / self.inside
        return gaps

    def _looked_up(self, members: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum within families of one size, ``(P, families, size)`` classes: ``(P,)``."""
        labellings, _, size = members.shape
        result = np.zeros(labellings)
        rows = members * len(self.both)
        for apart in range(1, size // 2 + 1):  # around a circle: each pair once
            pairs = size // 2 if 2 * apart == size else size
            columns = np.concatenate([members[..., apart:], members[..., :apart]], axis=2)
            result += self.flat[rows[..., :pairs] + columns[..., :pairs]].sum((1, 2))
        return result

    def _product(self, members: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum within one family, ``(P, size)`` classes: ``(P,)``, from the matrix's upper half."""
        count = len(self.both)
        chosen = np.zeros((len(members), count))
        np.put_along_axis(chosen, members, 1, axis=1)
        result = np.zeros(len(members))
        for start in range(0, count, _BLOCK):
            block = slice(start, start + _BLOCK)
            sums = chosen[:, : start + _BLOCK] @ self.upper[: start + _BLOCK, block]
            result += np.einsum("pk,pk->p", sums, chosen[:, block])
        return result
