"""Figures look the same everywhere: no ``matplotlibrc``, such as one in the working directory, changes them."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from matplotlib import rc_context, rcParamsDefault

P = ParamSpec("P")
T = TypeVar("T")


def default_style(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function with matplotlib's own defaults.

    matplotlib reads ``matplotlibrc`` from the working directory first, where a zoo's author may have put one. With
    ``text.usetex`` it would run LaTeX.
    """

    @functools.wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        with rc_context(rcParamsDefault):
            return function(*args, **kwargs)

    return styled
