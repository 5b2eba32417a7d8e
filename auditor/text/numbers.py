"""Numbers as text: the one place that formats percentages, differences, intervals and p-values."""

from collections.abc import Callable
from decimal import Decimal

DASH = "–"
"""In place of a number that is missing or undefined."""
MINUS = "−"


def number(value: float | None, digits: int = 2, minus: str = "-") -> str:
    """``0.41``; a dash for None and NaN."""
    return _formatted(value, f".{digits}f").replace("-", minus)


def significant(value: float | None, digits: int = 3) -> str:
    """So many significant digits: ``0.412``, ``4.1e-07``; a dash for None and NaN."""
    return _formatted(value, f".{digits}g")


def matrix_entry(value: float) -> str:
    """An entry of a matrix in a figure: one digit, and no negative zero."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", MINUS)


def percent(value: float | Decimal | None, digits: int = 1, unit: str = " %") -> str:
    """A fraction as ``41.0 %``; a dash for None and NaN."""
    return DASH if value is None or value != value else f"{100 * value:.{digits}f}{unit}"


def percent_number(value: float | None) -> str:
    """A fraction as ``41.0``, where the heading of the column says percent."""
    return percent(value, unit="")


def percent_narrow(value: float | None) -> str:
    """A fraction as ``41.0%``."""
    return percent(value, unit="%")


def points(value: float, minus: str = "-") -> str:
    """A difference of fractions in percentage points, with its sign: ``+1.2``."""
    return f"{100 * value:+.1f}".replace("-", minus)


def interval(low: float, high: float, form: Callable[[float], str]) -> str:
    """``10.0 to 90.0``, both ends formatted by ``form``."""
    return f"{form(low)} to {form(high)}"


def estimate(value: float, low: float, high: float, note: str = "") -> str:
    """``0.71 (95 % interval 0.52 to 0.84)``; ``note`` comes before the closing bracket."""
    return f"{value:.2f} (95 % interval {interval(low, high, number)}{note})"


def plus_minus(error: float | None) -> str:
    """A standard error: ``±0.01``, or with three digits if it is smaller; empty for None."""
    return "" if error is None else f"±{error:.{2 if error >= 0.005 else 3}f}"


def size(count: int | None) -> str:
    """A number of bytes as ``512 B``, ``34 kB``, ``1.2 MB``; a dash for None."""
    if count is None:
        return DASH
    if count < 1000:
        return f"{count} B"
    unit, one = next((unit, one) for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= one)
    return f"{count / one:.{1 if count < 10 * one else 0}f} {unit}"


def p_value(value: float | None, less: str = "<") -> str:
    """``0.123``, or ``<0.001``; a dash for None and NaN."""
    return f"{less}0.001" if value is not None and value < 0.001 else number(value, 3)


def p_equation(value: float) -> str:
    """``p = 0.123``, or ``p < 0.001``."""
    return f"p {p_value(value, '< ')}" if value < 0.001 else f"p = {p_value(value)}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 epoch``, ``2 epochs``, ``1,024 images``; ``plural`` where it is more than the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def _formatted(value: float | None, form: str) -> str:
    return DASH if value is None or value != value else format(value, form)
