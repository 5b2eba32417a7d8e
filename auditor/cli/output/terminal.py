"""Tables on a terminal, by Rich: as many columns as fit, and never a number cut short."""

import sys
from collections.abc import Callable, Collection, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.cli.output.layout import WIDE
from auditor.text.printable import clean_line

_UNBOUNDED = Console(width=10_000)


def console() -> Console:
    """Stdout; wide enough for all columns where it is not a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(width=None if terminal else WIDE, highlight=False)


def print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table: names are there to be copied, the last column's words may wrap."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, no_wrap=place < len(columns) - 1)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    console().print(table)


def print_fitting(
    columns: Sequence[str],
    cells: Callable[[Sequence[str]], Sequence[Sequence[str]]],
    dim: Sequence[bool],
    right: Collection[str],
    dropped_first: Sequence[str],
) -> None:
    """A table with as many columns as fit the terminal; ``cells`` makes the rows for the columns that are left."""
    out, left = console(), list(columns)
    for name in (*(name for name in dropped_first if name in columns), None):
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in left:
            table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
        for row, faint in zip(cells(left), dim, strict=True):
            table.add_row(*(_text(cell) for cell in row), style="dim" if faint else None)
        width = _UNBOUNDED.measure(table).maximum
        if name is None or width <= out.width:
            break
        left.remove(name)
    out.width = max(width, out.width)  # what still does not fit wraps, whole
    out.print(table)


def _text(cell: str) -> Text:
    """Brackets are no markup, and control characters do not reach the terminal."""
    return Text(clean_line(cell))
