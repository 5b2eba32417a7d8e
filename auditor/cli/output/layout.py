"""Lines and tables on stdout: fitted to a terminal's width, complete in a pipe or a file.

Bold, dim and colours are for terminals. NO_COLOR switches them off, and FORCE_COLOR switches them on anywhere.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence

import click

from auditor.text.printable import clean_line

NARROWEST_LAST = 16
"""The last column may wrap, unless it would become narrower than this."""
SEPARATOR = "  "
STYLES: dict[str, dict[str, bool | str]] = {
    "bold": {"bold": True}, "dim": {"dim": True}, "red": {"fg": "red"}, "yellow": {"fg": "yellow"},
}  # fmt: skip
"""Red is for failures, yellow for warnings."""


def is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def is_styled() -> bool:
    """Whether text may be bold, dim or coloured."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal() or bool(os.environ.get("FORCE_COLOR"))


def terminal_width() -> int | None:
    """The number of columns of the terminal; None where stdout is no terminal, so that nothing has to fit."""
    return max(20, shutil.get_terminal_size().columns) if is_terminal() else None


def print_line(line: str, style: str = "") -> None:
    """Print one line, whatever its length."""
    _print(clean_line(line), style)


def print_note(text: str, style: str = "dim") -> None:
    """Print a sentence, wrapped to the terminal."""
    width = terminal_width()
    for line in [text] if width is None else textwrap.wrap(clean_line(text), width, break_on_hyphens=False):
        print_line(line, style)


def print_columns(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    optional: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> list[str]:
    """Print a header and rows, and return the names of the columns that did not fit.

    Off a terminal, everything is printed. On a terminal, empty columns are left out, then the ``optional`` columns in
    their order until the others fit; the last column wraps. If that is not enough, each row becomes a block of lines.
    No cell is cut.

    Args:
        right: the columns that are justified right.
        styles: a style for each row; none by default.
    """
    cells = [[clean_line(cell) for cell in row] for row in rows]
    names, width, omitted = list(columns), terminal_width(), list[str]()
    if width is None:
        _print_rows(names, cells, _widths(names, cells), right, styles)
        return []
    filled = [place for place in range(len(names)) if place == 0 or any(row[place] for row in cells)]
    names, cells = [names[place] for place in filled], [[row[place] for place in filled] for row in cells]
    for name in (*(name for name in optional if name in names), None):
        widths = _widths(names, cells)
        spare = width - sum(widths[:-1]) - len(SEPARATOR) * (len(widths) - 1)
        if widths[-1] <= spare or spare >= max(NARROWEST_LAST, cell_width(names[-1])):
            _print_rows(names, cells, [*widths[:-1], min(widths[-1], spare)], right, styles)
            return omitted
        if name is not None:
            place = names.index(name)
            omitted.append(name)
            names.pop(place)
            cells = [[cell for number, cell in enumerate(row) if number != place] for row in cells]
    _print_blocks(names, cells, width, styles)
    return omitted


def _widths(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_width, column)) for column in zip(names, *rows, strict=True)]


def _print_rows(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    right: Collection[str],
    styles: Sequence[str],
) -> None:
    right_places = {place for place, name in enumerate(names) if name in right}
    before = sum(widths[:-1]) + len(SEPARATOR) * (len(widths) - 1)

    def pad(cell: str, place: int) -> str:
        padding = " " * (widths[place] - cell_width(cell))
        return padding + cell if place in right_places else cell + padding

    lines = []
    for number, row in enumerate((names, *rows)):
        style = "bold" if number == 0 else styles[number - 1] if styles else ""
        first, *more = _wrap(row[-1], widths[-1])
        cells = [pad(cell, place) for place, cell in enumerate((*row[:-1], first))]
        lines += [_styled(line.rstrip(), style) for line in (SEPARATOR.join(cells), *(" " * before + m for m in more))]
    click.echo("".join(f"{line}\n" for line in lines), nl=False, color=is_styled())


def _print_blocks(names: Sequence[str], rows: Sequence[Sequence[str]], width: int, styles: Sequence[str]) -> None:
    """Print each row as a block: the cell that names it, after its rank, then the other cells with their headings."""
    title = int(names[0] == "#" and len(names) > 1)
    for number, row in enumerate(rows):
        style = styles[number] if styles else ""
        named = f"{names[title]} {row[title]}" if row[title].isdecimal() else row[title]
        _print(" ".join((*row[:title], named)), "bold")
        for place, (name, cell) in enumerate(zip(names, row, strict=True)):
            if cell and place > title:
                for line in _wrap(f"{name}: {cell}" if name else cell, width - 2):
                    _print(f"  {line}", style)


def _wrap(cell: str, width: int) -> list[str]:
    if cell_width(cell) <= width:
        return [cell]
    narrow = max(1, width * len(cell) // cell_width(cell))  # letters that take two columns
    return textwrap.wrap(cell, narrow, break_long_words=False, break_on_hyphens=False) or [""]


def cell_width(cell: str) -> int:
    """The width of a cell in a terminal's columns: letters of some scripts take two."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def _print(line: str, style: str) -> None:
    click.echo(_styled(line, style), color=is_styled())


def _styled(line: str, style: str) -> str:
    options: dict[str, bool | str] = STYLES.get(style, {})
    return click.style(line, **options) if options and line and is_styled() else line  # type: ignore[arg-type]
