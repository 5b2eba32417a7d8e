"""Limits of time and memory for one model while it is measured."""

import math
from dataclasses import dataclass

from auditor.errors import UsageError
from auditor.machine.devices import count_memory

GIB = 2**30
HOURS: dict[str, float] = {"screen": 1.0, "quick": 6.0, "standard": 48.0, "strong": 48.0, "full": 14 * 24.0}
"""Default time limit per model and protocol; a model that takes longer probably hangs."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``seconds`` of wall time and bytes of resident ``memory``."""

    seconds: float
    memory: int

    @classmethod
    def of(cls, protocol: str, minutes: float | None, gib: float | None) -> "Limits":
        """Limits as requested; by default the protocol's time limit and nine tenths of the machine's memory,
        or of the container's if it has a limit.

        Raises:
            UsageError: a limit is not a finite number.
        """
        for option, number, unit in (("--time-limit", minutes, "minutes"), ("--memory-limit", gib, "GiB")):
            if number is not None and not math.isfinite(number):
                raise UsageError(f"{option}: expected a number of {unit}, got {number}")
        seconds = HOURS[protocol] * 3600 if minutes is None else minutes * 60
        return cls.share(seconds, None if gib is None else int(gib * GIB))

    @classmethod
    def share(cls, seconds: float, memory: int | None, processes: int = 1) -> "Limits":
        """Limits of one of ``processes``, which share nine tenths of the memory if ``memory`` is None."""
        machine = int(0.9 * count_memory())
        return cls(seconds=seconds, memory=machine // processes if memory is None else memory)
