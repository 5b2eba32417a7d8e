"""Number types for options: finite, and small enough for clocks, databases and memory."""

import math
from typing import Any

import click

LARGEST_COUNT = 2**31 - 1
LARGEST = 1e9
DAYS = 36_500
MINUTES = 60 * 24 * 3_650
SECONDS = 60 * MINUTES
GIBS = 2**20
"""Largest life of a token, time limit, age and memory limit: a larger value is a mistake, or overflows a clock."""


class Count(click.IntRange):
    """An integer from ``min``, 1 by default, that fits into every database's integer column."""

    def __init__(self, min: int = 1) -> None:
        super().__init__(min)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number > LARGEST_COUNT:
            self.fail(f"expected at most {LARGEST_COUNT}, got {value!s:.40}", param, ctx)
        return number


class Finite(click.types.FloatParamType):
    """A number that is neither NaN, nor infinite, nor larger than ``LARGEST``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _checked(self, super().convert(value, param, ctx), value, LARGEST, param, ctx)


class FiniteRange(click.FloatRange):
    """A finite number in a range; ``most`` is the largest useful value if the range has no upper end."""

    def __init__(
        self, min: float | None = None, max: float | None = None, *, most: float = LARGEST, **options: bool
    ) -> None:
        super().__init__(min, max, **options)
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _checked(self, super().convert(value, param, ctx), value, self.most, param, ctx)


def _checked(
    kind: click.ParamType[Any],
    number: float,
    value: Any,
    most: float,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> float:
    if not math.isfinite(number):
        kind.fail(f"expected a finite number, got {value!s:.40}", param, ctx)
    if abs(number) > most:
        kind.fail(f"expected at most {most:g}, got {value!s:.40}", param, ctx)
    return number
