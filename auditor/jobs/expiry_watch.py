"""Expiry: finds leases, and rows of workers, that nobody has renewed; reapers put such jobs back.

No wall clock decides. A lease has expired when the monotonic clock of the watching process has counted its length
without a renewal. Therefore a job keeps its process when a machine's clock is changed.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


class ExpiryWatch:
    """Finds values that have not changed for ``seconds`` of ``clock``."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[Hashable, tuple[object, float]] = {}
        self._last_check = clock()

    def find_stale(self, values: Mapping[K, object], own: Mapping[K, float | None] | None = None) -> list[K]:
        """The keys whose values are the same as ``seconds`` ago. Call this several times within ``seconds``.

        ``own``: the seconds of single keys; the larger number counts.
        """
        at = self._clock()
        if at - self._last_check > self._seconds / 2:  # after a pause, frozen perhaps, it cannot know what changed
            self.reset()
        self._last_check = at
        before = self._seen
        self._seen = {
            key: before[key] if key in before and before[key][0] == value else (value, at)
            for key, value in values.items()
        }
        seconds = {key: max(self._seconds, (own or {}).get(key) or 0) for key in values}
        return [key for key in values if at - self._seen[key][1] >= seconds[key]]

    def reset(self) -> None:
        """Start again, as if every value had just changed."""
        self._seen = {}
