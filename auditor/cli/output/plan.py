"""``auditor scan --dry-run``: what a scan would do, and what it would cost."""

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from auditor.cli.output.tables import print_table
from auditor.scans.plan import Planned

GIB = 2**30


def as_rows(plan: Sequence[Planned]) -> list[dict[str, Any]]:
    """The plan as plain values."""
    return [
        {
            "model": planned.model,
            "plan": planned.plan,
            "reason": planned.reason,
            "seconds": planned.estimate.seconds if planned.estimate else None,
            "seconds_at_most": planned.estimate.seconds_at_most if planned.estimate else None,
            "memory_bytes": planned.estimate.memory if planned.estimate else None,
        }
        for planned in plan
    ]


def print_plan(plan: Sequence[Planned], jobs: int = 1) -> None:
    """A line a model, and the time of all, so many ``jobs`` at once."""
    print_table(
        ("model", "plan", "about", "memory", ""),
        [
            (
                planned.model,
                planned.plan,
                duration(planned.estimate.seconds) if planned.estimate else "–",
                f"{planned.estimate.memory / GIB:.1f} GiB" if planned.estimate else "–",
                planned.reason,
            )
            for planned in plan
        ],
    )
    estimates = [planned.estimate for planned in plan if planned.estimate]
    counts = Counter(planned.plan for planned in plan)
    click.echo(", ".join(f"{number} {words}" for words, number in counts.items()))
    if estimates:
        at_once = f", {jobs} at once" if jobs > 1 else ""
        memory = sum(sorted((one.memory for one in estimates), reverse=True)[:jobs])
        click.echo(
            f"about {duration(together([one.seconds for one in estimates], jobs))}, at most "
            f"{duration(together([one.seconds_at_most for one in estimates], jobs))}{at_once}, on this machine as busy "
            f"as it is now; {memory / GIB:.1f} GiB of memory"
        )
    if counts["to download"]:
        click.echo("what has to be downloaded first is not estimated")


def together(seconds: Sequence[float], jobs: int) -> float:
    """When the last is done where so many run at once, each taking the next as soon as it is free."""
    free = [0.0] * max(1, jobs)
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
