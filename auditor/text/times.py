"""Times as people write and read them: ISO 8601 in UTC, ``3 minutes ago``, ``2 min 5 s``."""

from datetime import UTC, datetime

from auditor.text.numbers import DASH

_UNITS = (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
JUST_NOW = 5
"""Seconds, before and after, that are called ``just now``."""


def as_utc(time: datetime) -> datetime:
    """The same time in UTC; one without a zone is taken as UTC.

    Raises:
        ValueError: the time has no place in the calendar in UTC.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"expected a time between the years 1 and 9999 in UTC, got {time.isoformat()}") from None


def parse_time(text: str) -> datetime:
    """Read ``2026-11-28``, ``2026-11-28T02:00`` or ``2026-11-28T02:00+01:00``.

    Raises:
        ValueError: it is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a date or time such as 2026-11-28 or 2026-11-28T02:00, got {text!r:.60}") from None
    return as_utc(time)


def relative_time(moment: datetime, now: datetime) -> str:
    """``3 minutes ago``, ``in 2 hours``, ``just now``; both times need a zone."""
    seconds = round((now - moment).total_seconds())
    if abs(seconds) < JUST_NOW:
        return "just now"
    name, size = next((name, size) for name, size in _UNITS if abs(seconds) >= size)
    count = abs(seconds) // size
    words = f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"in {words}" if seconds < 0 else f"{words} ago"


def format_duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 d 4 h``; a dash for None and NaN."""
    if seconds is None or seconds != seconds:
        return DASH
    if seconds < 0.95:
        return f"{max(seconds, 0):.1f} s" if seconds >= 0.05 else "0 s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if days:
        return _pair(days, "d", whole // 3600 % 24, "h")
    if hours:
        return _pair(hours, "h", minutes % 60, "min")
    return _pair(minutes, "min", whole % 60, "s") if minutes else f"{whole} s"


def format_moment(moment: datetime) -> str:
    """``2026-11-28 18:40 UTC``."""
    return as_utc(moment).strftime("%Y-%m-%d %H:%M UTC")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
