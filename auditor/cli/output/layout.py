"""Columns and lines on stdout: styled by Rich on a terminal, else plain text, for which Rich need not be imported.

Off a terminal the text is what Rich would print, without trailing spaces, and for hundreds of rows it is there in a
fraction of the time.
"""

import os
import sys
from collections.abc import Collection, Sequence

import click

from auditor.text.printable import clean_line

WIDE = 1000
"""Columns off a terminal, where nothing wraps."""


def styled() -> bool:
    """Whether stdout is a terminal, or is to be treated as one."""
    return (sys.stdout is not None and sys.stdout.isatty()) or not {"FORCE_COLOR", "TTY_COMPATIBLE"}.isdisjoint(
        os.environ
    )


def print_line(line: str, style: str = "") -> None:
    """One line, whatever its length."""
    line = clean_line(line)
    if not styled():
        click.echo(line)
        return
    from rich.text import Text

    from auditor.cli.output.terminal import console

    console().print(Text(line, style=style), soft_wrap=True)


def print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """A header and rows, two spaces between the columns; those named in ``right`` are justified right."""
    lines = [list(columns), *([clean_line(cell) for cell in row] for row in rows)]
    for place, name in enumerate(columns):
        width = max(_width(cells[place]) for cells in lines)
        for cells in lines:
            padding = " " * (width - _width(cells[place]))
            cells[place] = padding + cells[place] if name in right else cells[place] + padding
    click.echo("".join(f"{'  '.join(cells).rstrip()}\n" for cells in lines), nl=False)


def _width(cell: str) -> int:
    """Of a cell in a terminal's columns: letters of some scripts take two."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)
