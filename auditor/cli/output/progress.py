"""Progress of a scan on stderr: a bar for the scan and one per running model, or one line per model."""

import contextlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from auditor.logs import log_json, logs_json
from auditor.text.printable import clean_lines
from auditor.text.times import format_duration

NARROW = 80
"""Terminals with fewer columns get a short bar, and no elapsed time."""
SHORTEST_NAME = 8


class ScanProgress:
    """A context manager and a reporter for :class:`auditor.scans.local.LocalExecutor`."""

    def __init__(self, models: int) -> None:
        self.count, self.total = 0, models
        self.end = EstimatedEnd(models)
        self.bars: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty() and not logs_json():
            console = Console(stderr=True)
            narrow = console.width < NARROW
            self.width = console.width - (32 if narrow else 60)
            name = Column(width=self.width, no_wrap=True, overflow="ellipsis")
            self.bars = Progress(
                TextColumn("{task.description}", table_column=name),
                BarColumn(bar_width=8 if narrow else 24),
                MofNCompleteColumn(),
                *([] if narrow else [TimeElapsedColumn()]),
                TextColumn("{task.fields[left]}"),
                console=console,
                transient=True,
            )
            self.models = self.bars.add_task("models", total=models, left="")
            self.running: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()

    def model(self, name: str) -> None:
        if self.bars:
            self.running[name] = self.bars.add_task(shorten(name, self.width), total=None, left="")

    def part(self, name: str, part: str, done: int, total: int) -> None:
        if self.bars and name in self.running:
            room = max(SHORTEST_NAME, self.width - len(part) - 1)
            words = f"{shorten(name, room)} {part}"
            self.bars.update(self.running[name], description=words, completed=done, total=total)
            self.bars.update(self.models, left=self.end.words())

    def ended(self, name: str, outcome: str) -> None:
        self.count += 1
        self.end.add(reused=outcome in ("reused", "verified"))
        if self.bars:
            self.bars.update(self.models, completed=self.count, left=self.end.words())
            self.bars.remove_task(self.running.pop(name))
        if logs_json():
            return  # the audit has left its line already, with all its ids
        if self.bars is None or outcome.startswith("failed"):
            left = f", {words}" if self.bars is None and (words := self.end.words()) else ""
            say(f"{self.count}/{self.total} {name}: {outcome}{left}")


class EstimatedEnd:
    """Estimates how long a scan will take, if each of its models takes as long as the mean of those audited so far."""

    def __init__(self, models: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.started, self.left = clock, clock(), models
        self.audited, self.last = 0, self.started

    def add(self, *, reused: bool) -> None:
        """Count a model that has ended; one that was done before takes no time."""
        self.left -= 1
        if not reused:
            self.audited, self.last = self.audited + 1, self.clock()

    def seconds(self) -> float | None:
        """The seconds left; None before a model was audited, and after the last one."""
        if not self.audited or not self.left:
            return None
        expected = (self.last - self.started) / self.audited * self.left
        return max(0.0, expected - (self.clock() - self.last))

    def words(self) -> str:
        """``about 12 min left``; empty where nothing is known, or little is left."""
        seconds = self.seconds()
        return "" if seconds is None or seconds < 1 else f"about {format_duration(seconds)} left"


def shorten(name: str, width: int) -> str:
    """A name with its middle left out, so that it fits; both of its ends tell models apart."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def say(line: str) -> None:
    """Print a line on stderr, or log it as JSON; a closed stderr is ignored."""
    with contextlib.suppress(OSError, AttributeError):
        if not log_json(line):
            click.echo(clean_lines(line), err=True)
