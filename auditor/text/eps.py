"""An attack radius as people write it, in units of the [0, 1] pixels: ``0.03`` or ``8/255``."""

from fractions import Fraction
from typing import Any

CORRUPTIONS = {"corruptions_generated": "generated corruptions", "corruptions_3d": "3D corruptions"}
"""Names of common corruptions for people, if they are not the stored ones."""


def format_eps(eps: float) -> str:
    """``8/255`` where ``eps`` is such a fraction to six digits, else the shortest decimal."""
    parts = eps * 255
    if abs(parts - round(parts)) < 1e-6 and 0 < round(parts) < 64:
        return f"{round(parts)}/255"
    return f"{eps:g}"


def format_threat(norm: str, eps: float) -> str:
    """A threat model: ``Linf 8/255``; common corruptions, which have no radius, by name.

    Example:
        >>> format_threat("L2", 0.5), format_threat("corruptions", 0)
        ('L2 0.5', 'corruptions, severities 1-5')
    """
    return f"{norm} {format_eps(eps)}" if eps > 0 else f"{CORRUPTIONS.get(norm, norm)}, severities 1-5"


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
