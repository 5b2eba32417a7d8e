"""Times and durations as words."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from auditor.text.times import format_duration, format_moment, relative_time

NOW = datetime(2026, 11, 28, 18, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"), (4, "just now"), (-4, "just now"), (5, "5 seconds ago"), (59.4, "59 seconds ago"),
        (59.6, "1 minute ago"), (119, "1 minute ago"), (180, "3 minutes ago"), (3599, "59 minutes ago"),
        (3600, "1 hour ago"), (86_399, "23 hours ago"), (86_400, "1 day ago"), (30 * 86_400, "1 month ago"),
        (400 * 86_400, "1 year ago"), (-61, "in 1 minute"), (-7200, "in 2 hours"),
    ],
)  # fmt: skip
def test_relative_times(seconds: float, words: str) -> None:
    assert relative_time(NOW - timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"), (math.nan, "–"), (-1, "0 s"), (0, "0 s"), (0.04, "0 s"), (0.44, "0.4 s"), (0.97, "1 s"),
        (12, "12 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3600, "1 h"), (12_000, "3 h 20 min"),
        (86_400, "1 d"), (187_300, "2 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert format_duration(seconds) == words


def test_the_time_in_full_is_in_utc() -> None:
    assert format_moment(datetime.fromisoformat("2026-11-28T19:40:30+01:00")) == "2026-11-28 18:40 UTC"
