"""``python -m tests.simulation``: runs random schedules and prints how many, how long they took, and what was wrong.

    python -m tests.simulation [--interleavings 1000000] [--seed 1] [--processes 2] [--verify-every 2000]

An interleaving is one schedule, drawn by the seed and its number, which is run until all its jobs have ended and no
message is left. Each transaction in it is compared with the model, and each new content of the database is checked. The
exit code is 1 if a schedule fails; the first one of each process is printed as it was drawn and after shrinking.

Every ``--verify-every``-th schedule is run once more without remembering any transaction, on a database of its own; all
its writing transactions must return and leave the same.
"""

import argparse
import contextlib
import logging
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.database import WRITING
from tests.simulation.schedule import TEMPLATES, Schedule, Simulation, draw
from tests.simulation.shrink import shrink

REPORT_SECONDS = 60.0
BY_COST = (
    "the same model twice", "two audits", "a model that fails", "an audit and an adaptation", "one audit",
    "an adaptation",
)  # fmt: skip
"""The templates of schedules, those that take longest first."""


@dataclass
class Totals:
    """What a process has done. ``seconds`` are CPU time; ``calls``: the writing transactions by what they returned."""

    interleavings: int = 0
    events: int = 0
    transactions: int = 0
    executed: int = 0
    verified: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Totals") -> None:
        for name in ("interleavings", "events", "transactions", "executed", "verified", "seconds", "megabytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.calls += other.calls
        self.failures += other.failures


def explore(
    seed: str, numbers: range, verify_every: int, *, templates: Collection[str] = TEMPLATES, queue: Any = None
) -> Totals:
    """Run the schedules with these numbers and templates, until one fails."""
    with _without_logs():
        return _explore(seed, numbers, verify_every, templates, queue)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """The faults that are drawn are no news."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _explore(seed: str, numbers: range, verify_every: int, templates: Collection[str], queue: Any) -> Totals:
    totals, reported, began = Totals(), time.monotonic(), time.process_time()
    simulation, plain = Simulation(), Simulation(remember=False)
    with simulation.running():
        for number in numbers:
            schedule = draw(f"{seed}-{number}")
            if schedule.template not in templates:
                continue
            trace: list[Any] = []
            is_verified = verify_every > 0 and number % verify_every == 0
            violation = simulation.run(schedule, trace if is_verified else None)
            if violation is None and is_verified:
                totals.verified += 1
                violation = _verify(plain, schedule, trace)
            totals.interleavings += 1
            totals.events += len(schedule.events)
            if violation is not None:
                explained = "" if isinstance(violation, str) else _explain(simulation, schedule)
                totals.failures.append(f"schedule {seed}-{number}: {violation}\n{explained}")
                break
            if queue is not None and time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                queue.put((templates, totals.interleavings))
    totals.transactions, totals.executed = simulation.database.calls, simulation.database.executed
    totals.calls = simulation.database.tally
    totals.seconds = time.process_time() - began
    totals.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if queue is not None:
        queue.put((templates, totals))
    return totals


def shares(processes: int) -> list[tuple[str, ...]]:
    """The templates of each process. Schedules of two templates have few transactions in common to remember."""
    shares: list[tuple[str, ...]] = [()] * processes
    for number, template in enumerate(BY_COST):
        turn, place = divmod(number, processes)
        shares[place if turn % 2 == 0 else processes - 1 - place] += (template,)
    return shares


def _verify(plain: Simulation, schedule: Schedule, trace: list[Any]) -> str | None:
    """What is different without remembering; None if nothing is."""
    again: list[Any] = []
    with plain.running():
        violation = plain.run(schedule, again)
    first, second = ([step for step in steps if step[1].name in WRITING] for steps in (trace, again))
    if violation is not None:
        return f"without remembering: {violation}"
    for one, other in zip(map(_comparable, first), map(_comparable, second), strict=False):
        if one != other:
            changed = [f"{a!r} and {b!r}" for a, b in zip(one, other, strict=True) if a != b]
            return f"without remembering, {one[0]}, {one[1]}{one[2]}: {'; '.join(changed)}"
    return None if len(first) == len(second) else f"{len(first)} and {len(second)} transactions"


def _comparable(step: Any) -> Any:
    """A step of a trace; errors, and records with arrays, by what they say."""
    name, call, result, error, rows = step
    return name, call.name, repr(call.arguments), repr(result), repr(error), rows


def _explain(simulation: Simulation, schedule: Schedule) -> str:
    """The schedule after shrinking, with what is wrong in it, and its transactions."""
    small = shrink(schedule, lambda one: simulation.run(one) is not None)
    trace: list[Any] = []
    violation = simulation.run(small, trace)
    steps = [
        f"    {name}: {call.name}{call.arguments} -> {error or result!r}" for name, call, result, error, _ in trace
    ]
    return "\n".join([f"  smallest: {small}", f"  {violation}", *steps[-40:]])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Explore the protocol of leases.")
    parser.add_argument("--interleavings", type=int, default=1_000_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--processes", type=int, default=2, choices=range(1, len(TEMPLATES) + 1))
    parser.add_argument("--verify-every", type=int, default=2000)
    options = parser.parse_args()
    began, totals = time.monotonic(), Totals()
    queue: Any = multiprocessing.get_context("fork").Queue()
    children = [
        multiprocessing.get_context("fork").Process(
            target=explore,
            args=(options.seed, range(options.interleavings), options.verify_every),
            kwargs={"templates": templates, "queue": queue},
        )
        for templates in shares(options.processes)
    ]
    for child in children:
        child.start()
    done: dict[tuple[str, ...], int] = {}
    while any(child.is_alive() for child in children) or not queue.empty():
        try:
            templates, found = queue.get(timeout=1)
        except Exception:  # nothing for a second
            continue
        done[templates] = found.interleavings if isinstance(found, Totals) else found
        if isinstance(found, Totals):
            totals.add(found)
        print(f"{sum(done.values()):,} interleavings after {time.monotonic() - began:,.0f} s", flush=True)
    _print(totals, options, time.monotonic() - began)
    return 1 if totals.failures or totals.interleavings != options.interleavings else 0


def _print(totals: Totals, options: argparse.Namespace, seconds: float) -> None:
    for name, number in sorted(totals.calls.items()):
        print(f"{number:>12,}  {name}")
    for failure in totals.failures:
        print(failure)
    print(
        f"{totals.interleavings:,} interleavings of seed {options.seed}, {totals.events:,} drawn events and "
        f"{totals.transactions:,} transactions, {totals.executed:,} of them run and the others remembered; "
        f"{totals.verified:,} interleavings run again without remembering; {len(totals.failures)} failures"
    )
    print(
        f"{seconds:,.0f} s with {options.processes} processes, {totals.seconds:,.0f} s of CPU time, "
        f"{totals.megabytes:,.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
