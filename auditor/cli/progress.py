"""How a scan gets on: two bars on a terminal, a line a model elsewhere; always on stderr."""

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
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ScanProgress:
    """A context manager and a reporter of :func:`auditor.jobs.run_scan`."""

    def __init__(self, models: int) -> None:
        self.count, self.total, self.name = 0, models, ""
        self.bars: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty():
            self.bars = Progress(
                TextColumn("{task.description:<34}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.models = self.bars.add_task("models", total=models)
            self.attack = self.bars.add_task("", total=None)

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
        self.name = name
        if self.bars:
            self.bars.update(self.models, description=name)

    def part(self, name: str, done: int, total: int) -> None:
        if self.bars:
            self.bars.update(self.attack, description=f"  {name}", completed=done, total=total)

    def ended(self, name: str, outcome: str) -> None:
        self.count += 1
        if self.bars:
            self.bars.update(self.models, completed=self.count)
        if self.bars is None or outcome.startswith("failed"):
            say(f"{self.count}/{self.total} {name}: {outcome}")


def say(line: str) -> None:
    """A line on stderr; where nobody listens any more, the work goes on in silence."""
    with contextlib.suppress(OSError, AttributeError):
        click.echo(line, err=True)
