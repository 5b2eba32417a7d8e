"""Times as people write them: ISO 8601, in UTC where no zone is given."""

from datetime import UTC, datetime


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
