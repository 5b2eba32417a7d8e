"""An attack radius as people write it, in units of the [0, 1] pixels: ``0.03`` or ``8/255``."""

from fractions import Fraction
from typing import Any


def format_eps(eps: float) -> str:
    """``8/255`` where ``eps`` is such a fraction to six digits, else the shortest decimal."""
    parts = eps * 255
    if abs(parts - round(parts)) < 1e-6 and 0 < round(parts) < 64:
        return f"{round(parts)}/255"
    return f"{eps:g}"


def parse_eps(text: Any) -> float:
    """An attack radius in [0, 1] pixels: a number, or text such as ``0.03`` or ``8/255``.

    Raises:
        ValueError: it is neither, or not above 0 and below 1000.
    """
    try:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError
        eps = float(Fraction(text)) if isinstance(text, str) and "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"expected a number such as 0.03 or 8/255, got {text!r:.60}") from None
    if not 0 < eps < 1000:
        raise ValueError(f"expected a radius above 0, in units of the [0, 1] pixels, got {text!r:.60}")
    return eps
