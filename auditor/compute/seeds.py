"""Code that draws from global generators: seeded inside, as if nothing had been drawn outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Inside, NumPy's global generator starts from the lowest 32 bits of ``seed``. Afterwards it is as before.

    Example:
        >>> with numpy_seeded(3):
        ...     first = np.random.random()
        >>> with numpy_seeded(3):
        ...     assert np.random.random() == first
    """
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)
