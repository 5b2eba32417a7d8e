"""``auditor scan --dry-run``: what a scan would do, and what it would cost."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from auditor.cli.tables import print_table
from auditor.scans import Planned

GIB = 2**30


def as_rows(plan: Sequence[Planned]) -> list[dict[str, Any]]:
    """The plan as plain values."""
    return [
        {
            "model": planned.model,
            "plan": planned.plan,
            "reason": planned.reason,
            "seconds_at_most": planned.estimate.seconds if planned.estimate else None,
            "memory_bytes": planned.estimate.memory if planned.estimate else None,
        }
        for planned in plan
    ]


def print_plan(plan: Sequence[Planned], jobs: int = 1) -> None:
    """A line a model, and the time of all, so many ``jobs`` at once."""
    print_table(
        ("model", "plan", "at most", "memory", ""),
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
        click.echo(
            f"at most {duration(sum(one.seconds for one in estimates))} on this machine as busy as it is now, "
            f"less where attacks break images; {max(one.memory for one in estimates) / GIB:.1f} GiB of memory"
        )
    if counts["to download"]:
        click.echo("what has to be downloaded first is not estimated")


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
