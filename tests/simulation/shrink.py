"""Shrinks a failing schedule: leaves out events for as long as it still fails, then simplifies what is around them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.schedule import Event, Schedule

SIMPLER = (
    {"workers": ("cpu",)}, {"workers": ("cpu", "cpu")}, {"reapers": 1}, {"patience": 0.0}, {"keys": 1},
    {"lease_of_reapers": 60.0}, {"reports": False}, {"sent": True}, {"template": "one audit"},
)  # fmt: skip


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """A schedule that fails, and passes without any single one of its events (delta debugging, Zeller 1999)."""
    size = max(1, len(schedule.events) // 2)
    while True:
        smaller = next((one for one in _without(schedule, size) if fails(one)), None)
        if smaller is not None:
            schedule = smaller
        elif size > 1:
            size //= 2
        else:
            break
    for change in SIMPLER:
        simpler = replace(schedule, **change)
        if simpler != schedule and fails(simpler):
            schedule = simpler
    return replace(schedule, events=tuple(_small_numbers(schedule, fails)))


def _without(schedule: Schedule, size: int) -> Iterator[Schedule]:
    """The schedule without each run of so many events."""
    for start in range(0, len(schedule.events), size):
        rest = schedule.events[:start] + schedule.events[start + size :]
        if len(rest) < len(schedule.events):
            yield replace(schedule, events=rest)


def _small_numbers(schedule: Schedule, fails: Callable[[Schedule], bool]) -> list[Event]:
    """The events with the number 0 where that fails, too."""
    events = list(schedule.events)
    for position, (name, number) in enumerate(events):
        simpler = [*events[:position], (name, 0), *events[position + 1 :]]
        if number and fails(replace(schedule, events=tuple(simpler))):
            events = simpler
    return events
