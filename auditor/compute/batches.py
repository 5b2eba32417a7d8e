"""Work in batches, which become smaller each time memory runs out."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from auditor import tracing

Result = TypeVar("Result")


def in_batches(
    function: Callable[[slice], Result],
    count: int,
    size: int,
    *,
    start: int = 0,
    halved: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[int, Result]]:
    """Apply ``function`` to slices of at most ``size`` of ``count`` places; halve the size when memory runs out.

    Yields how many places are done, from ``start`` on, and the result of the last slice.

    Args:
        halved: is told each smaller size.

    Raises:
        torch.OutOfMemoryError: a slice of one place does not fit.

    Example:
        >>> list(in_batches(lambda part: list(range(5))[part], 5, 2))
        [(2, [0, 1]), (4, [2, 3]), (5, [4])]
    """
    done = start
    while done < count:
        end = min(done + size, count)
        try:
            result = function(slice(done, end))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            tracing.event("out of memory: batches halved", batch_size=size)
            halved(size)
            continue
        done = end
        yield done, result


def map_batches(function: Callable[[Tensor], Result], images: Tensor, batch_size: int) -> list[Result]:
    """Apply ``function`` to batches of images; halve them each time memory runs out."""
    return [result for _, result in in_batches(lambda part: function(images[part]), len(images), batch_size)]
