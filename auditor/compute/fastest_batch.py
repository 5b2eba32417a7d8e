"""The batch size that a device works through fastest, found by trying some."""

import time
from collections.abc import Callable, Sequence

import torch

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
GAIN = 1.05
"""A larger batch must be faster by this factor, because it needs more memory."""
SECONDS = 5.0
"""No further size is tried after so long, from the end of the first pass on: that one also loads libraries."""


def measure_batch_size(
    work: Callable[[int], object],
    most: int,
    *,
    sizes: Sequence[int] = SIZES,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The smallest of the sizes whose images per second are near the highest; 1 or more and at most ``most``.

    Args:
        work: does the work on so many images, and returns when the device has finished. Each size runs twice, the first
            time to warm up.
        most: the number of images that there are.

    Once memory runs out, half of the largest size that fitted is the limit, because attacks hold more than one pass.

    Example:
        >>> measure_batch_size(lambda size: time.sleep(0.05), 50)
        50
    """
    tried = sorted({min(size, most) for size in sizes})
    rates: dict[int, float] = {}
    began: float | None = None
    for size in tried:
        try:
            work(size)
            started = clock()
            began = started if began is None else began
            work(size)
        except torch.OutOfMemoryError:
            return _fastest(rates, max(rates, default=2 * tried[0]) // 2)
        rates[size] = size / max(clock() - started, 1e-9)
        if clock() - began > SECONDS:
            break
    return _fastest(rates, most)


def _fastest(rates: dict[int, float], most: int) -> int:
    """The smallest size up to ``most`` after which no other is faster by ``GAIN``."""
    chosen = min([*rates, max(most, 1)])
    for size, rate in rates.items():
        if size <= most and rate > GAIN * rates.get(chosen, 0.0):
            chosen = size
    return min(chosen, max(most, 1))
