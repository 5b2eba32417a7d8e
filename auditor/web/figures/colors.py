"""Colours that colour-blind readers can distinguish; the style sheet has the colours of the light and dark themes."""

from collections.abc import Sequence

from auditor.pixels import DIVERGING, interpolate

SERIES = 7
"""The number of series colours in the style sheet, which are Paul Tol's bright scheme."""

_SEQUENTIAL = ((8, 29, 88), (34, 94, 168), (65, 182, 196), (199, 233, 180), (255, 255, 217))
"""ColorBrewer's YlGnBu, dark first."""

UNDEFINED = "#9a9a9a"


def diverging(value: float) -> tuple[str, str]:
    """Return the colour of a value from -1 (blue) to 1 (red), and black or white for text on it."""
    return _at(DIVERGING, (value + 1) / 2)


def sequential(value: float) -> tuple[str, str]:
    """Return the colour of a value from 0 (dark) to 1 (light), and black or white for text on it."""
    return _at(_SEQUENTIAL, value)


def anchors_of(similarity: bool) -> Sequence[tuple[int, int, int]]:
    """Return the anchors for a similarity, -1 to 1, or for a distance, 0 to 1."""
    return DIVERGING if similarity else _SEQUENTIAL


def _at(anchors: Sequence[tuple[int, int, int]], share: float) -> tuple[str, str]:
    color = interpolate(anchors, share)
    return "#{:02x}{:02x}{:02x}".format(*color), "#000000" if _luminance(color) > 0.18 else "#ffffff"


def _luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance as WCAG 2.2 defines it; at 0.18 black and white have the same contrast."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
