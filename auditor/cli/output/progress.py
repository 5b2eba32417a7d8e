"""Progress of a scan on stderr: a bar for the scan and one per running model, or one line per model."""

import contextlib
import sys
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
    TimeRemainingColumn,
)

from auditor.logs import log_json, logs_json
from auditor.text.printable import clean_lines


class ScanProgress:
    """A context manager and a reporter for :class:`auditor.scans.local.LocalExecutor`."""

    def __init__(self, models: int) -> None:
        self.count, self.total = 0, models
        self.bars: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty() and not logs_json():
            self.bars = Progress(
                TextColumn("{task.description:<40}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.models = self.bars.add_task("models", total=models)
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
            self.running[name] = self.bars.add_task(name, total=None)

    def part(self, name: str, part: str, done: int, total: int) -> None:
        if self.bars and name in self.running:
            self.bars.update(self.running[name], description=f"{name} {part}", completed=done, total=total)

    def ended(self, name: str, outcome: str) -> None:
        self.count += 1
        if self.bars:
            self.bars.update(self.models, completed=self.count)
            self.bars.remove_task(self.running.pop(name))
        if logs_json():
            return  # the audit has left its line already, with all its ids
        if self.bars is None or outcome.startswith("failed"):
            say(f"{self.count}/{self.total} {name}: {outcome}")


def say(line: str) -> None:
    """Print a line on stderr, or log it as JSON; a closed stderr is ignored."""
    with contextlib.suppress(OSError, AttributeError):
        if not log_json(line):
            click.echo(clean_lines(line), err=True)
