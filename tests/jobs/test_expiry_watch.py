"""Watching what does not change."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.jobs.expiry_watch import ExpiryWatch


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


SECONDS = 60.0
steps = st.lists(
    st.tuples(
        st.floats(0, 0.75 * SECONDS),  # until the next look; more than half of SECONDS is a gap
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=3),
    ),
    max_size=60,
)


@given(steps)
def test_stale_is_what_was_seen_unchanged_for_so_long_by_somebody_who_looked(looks: list[Any]) -> None:
    """Against the definition: the stretch of looks, without a gap, in which a key had this one value."""
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    past: list[tuple[float, dict[str, int]]] = [(clock.at, {})]
    for wait, signs in looks:
        clock.at += wait
        past.append((clock.at, signs))
        expected = []
        for key in signs:
            since = clock.at
            for (at, seen), (before, earlier) in zip(reversed(past), reversed(past[:-1]), strict=False):
                if seen.get(key) != signs[key] or at - before > SECONDS / 2:
                    break
                if earlier.get(key) == signs[key]:
                    since = before
            if clock.at - since >= SECONDS:
                expected.append(key)
        assert watch.find_stale(signs) == expected


@given(st.lists(st.integers(1, 240).map(lambda eighths: eighths / 8), min_size=1, max_size=50))  # sums are exact
def test_who_looks_regularly_finds_it_and_not_too_early(waits: list[float]) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    assert watch.find_stale({"a": 1}) == []
    since = clock.at
    for wait in waits:
        clock.at += wait
        assert watch.find_stale({"a": 1}) == (["a"] if clock.at - since >= SECONDS else [])


@pytest.mark.parametrize(
    ("looks", "stale"),
    [
        ([(0, 1), (30, 1), (30, 1)], True),
        ([(0, 1), (30, 1), (29.9, 1)], False),
        ([(0, 1), (30, 2), (30, 2)], False),  # it changed
        ([(0, 1), (30, 2), (30, 1)], False),  # and changed back
        ([(0, 1), (20, None), (20, 1), (20, 1)], False),  # it was away
        ([(0, 1), (30, 1), (30.1, 1)], False),  # who looks was frozen
        ([(0, 1), (86400, 1), (0, 1)], False),
        ([(0, 1), (86400, 1), (30, 1), (30, 1)], True),
        ([(0, None), (30, None), (30, 1)], False),
    ],
)
def test_what_counts_as_stale(looks: list[tuple[float, int | None]], stale: bool) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    for wait, value in looks:
        clock.at += wait
        found = watch.find_stale({} if value is None else {"a": value})
    assert found == (["a"] if stale else [])


def test_what_was_forgotten_begins_anew() -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    for wait in (0, 30, 29):
        clock.at += wait
        watch.find_stale({"a": 1})
    watch.reset()
    clock.at += 1
    assert watch.find_stale({"a": 1}) == []


def test_nobodys_wall_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    watch = ExpiryWatch(SECONDS, clock)
    wall = iter([0.0, 1e12, -1e12, 5.0])
    monkeypatch.setattr(time, "time", lambda: next(wall))
    found = []
    for wait in (0, 30, 30):
        clock.at += wait
        found.append(watch.find_stale({"a": 1}))
    assert found == [[], [], ["a"]]


def test_a_lease_that_is_longer_than_the_watchers_own_counts() -> None:
    at = [0.0]
    watch = ExpiryWatch(3, lambda: at[0])
    stale = []
    for second in range(70):
        at[0] = float(second)
        stale.append(watch.find_stale({"short": 1, "long": 1}, {"short": 1.0, "long": 60.0}))
    assert stale[2] == []
    assert stale[3] == ["short"]
    assert stale[59] == ["short"]
    assert stale[60] == ["short", "long"]
