"""What the permutation test costs, against its plain form: one matrix product a superclass.

    OMP_NUM_THREADS=1 python -m benchmarks.permutation [--repeats 3] [--permutations 1000] [--all]

One line a level of the ImageNet hierarchy, on a random 1,000 x 1,000 correlation: the median ratio of the two over
repeats, measured in turn, and whether the p-values are the same. Levels of more than 100 superclasses take the plain
form minutes: --all measures them, too. The seconds are of this machine.
"""

import argparse
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from auditor.clustering.permutation import gap_p_value
from auditor.data.hierarchies import load_hierarchy, outline_of


def plain_gaps(distance: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The gap under each of ``(P, K)`` labellings, from one-hot labels."""
    off = distance - np.diag(np.diagonal(distance))
    families = ((labels == family).astype(np.float64) for family in range(int(labels.max()) + 1))
    within = sum(((family @ off) * family).sum(1) for family in families)
    sizes = np.bincount(labels[0])
    inside = float((sizes * (sizes - 1)).sum())
    outside = float(len(off) * (len(off) - 1)) - inside
    gaps: NDArray[np.float64] = (off.sum() - within) / outside - within / inside
    return gaps


def plain_p_value(distance: NDArray[np.float64], labels: NDArray[np.int64], permutations: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    observed = plain_gaps(distance, labels[None])[0]
    larger = 0
    for start in range(0, permutations, 500):
        count = min(500, permutations - start)
        shuffled = generator.permuted(np.tile(labels, (count, 1)), axis=1)
        larger += int((plain_gaps(distance, shuffled) >= observed - 1e-12).sum())
    return (1 + larger) / (1 + permutations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    classes = tuple(outline_of("imagenet").leaves.values())
    hierarchy = load_hierarchy("imagenet", classes)
    unit = np.random.default_rng(0).standard_normal((len(classes), 300))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    for number, level in enumerate(hierarchy.levels):
        labels = np.unique(level, return_inverse=True)[1].astype(np.int64)
        if labels.max() >= 100 and not options.all:
            continue
        pairs, same = [], True
        for seed in range(options.repeats):
            started = time.perf_counter()
            ours = gap_p_value(distance, labels, options.permutations, seed)
            between = time.perf_counter()
            theirs = plain_p_value(distance, labels, options.permutations, seed)
            pairs.append((between - started, time.perf_counter() - between))
            same &= ours == theirs
        ratios = [ours / theirs for ours, theirs in pairs]
        print(
            f"gap_p_value / plain, {labels.max() + 1} superclasses{' (headline)' * (number == hierarchy.headline)}: "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {options.repeats} repeats of "
            f"{options.permutations}; {statistics.median(o for o, _ in pairs):.2f} s against "
            f"{statistics.median(t for _, t in pairs):.2f} s), {'the same' if same else 'ANOTHER'} p-value",
            flush=True,
        )


if __name__ == "__main__":
    main()
