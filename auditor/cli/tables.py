"""Result rows as tables for people: ranked by robust accuracy, flagged rows after the ranked ones."""

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.records import format_eps

Row = dict[str, Any]
GAP_NOTE = "The gap is evidence, not proof: robustness is what survives the attacks."
SCREEN_NOTE = "screen: not evidence of robustness. No model was attacked."


def print_json(rows: Sequence[Row]) -> None:
    """One JSON array on stdout and nothing else; NaN is null."""
    click.echo(json.dumps([finite(row) for row in rows], indent=1, ensure_ascii=False))


def finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def as_csv(rows: Sequence[Row]) -> str:
    """Comma-separated values with a header; lists are joined by semicolons, dicts are JSON."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value


def print_results(rows: Sequence[Row]) -> None:
    """The leaderboard: models that count, then flagged ones, then those without a result."""
    console = _console()
    done = [row for row in rows if row["status"] == "done"]
    ranked = [row for row in done if not row["flags"]]
    flagged = [row for row in done if row["flags"]]
    one_protocol = len({row["protocol"] for row in done}) < 2
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, right in _COLUMNS:
        if name != "protocol" or not one_protocol:
            table.add_column(name, justify="right" if right else "left", no_wrap=name not in ("flags",))
    for row in ranked:
        table.add_row(*_cells(row, _rank(row, ranked), one_protocol))
    for row in flagged:
        table.add_row(*_cells(row, "–", one_protocol), style="dim")
    console.print(table)
    for row in rows:
        if row["status"] != "done":
            console.print(Text(f"{row['model']}: {row['status']}: {row['reason'] or ''}", style="red"), soft_wrap=True)
    for row in done:
        for part in row["not_measurable"]:
            console.print(Text(f"{row['model']}: not measurable: {part}", style="yellow"), soft_wrap=True)
    for line in _footnotes(done):
        console.print(Text(line, style="dim"), soft_wrap=True)


_COLUMNS = (
    ("#", True), ("model", False), ("protocol", False), ("threat model", False), ("n", True), ("clean %", True),
    ("robust % (95 % interval)", True), ("gap", True), ("p", True), ("intra", True), ("inter", True),
    ("flags", False),
)  # fmt: skip


def _rank(row: Row, ranked: Sequence[Row]) -> str:
    """Equal robust accuracies share a rank; without one there is none."""
    accuracy = row["robust_accuracy"]
    if accuracy is None:
        return ""
    return str(1 + sum((other["robust_accuracy"] or 0) > accuracy for other in ranked))


def _cells(row: Row, rank: str, one_protocol: bool) -> list[str]:
    robust = "–"
    if row["robust_accuracy"] is not None:
        low, high = 100 * row["robust_low"], 100 * row["robust_high"]
        robust = f"{100 * row['robust_accuracy']:.1f} ({low:.1f}–{high:.1f})"
    cells = [
        rank,
        row["model"],
        row["protocol"],
        f"{row['norm']} {format_eps(row['eps'])}",
        str(row["n"] or "–"),
        _number(row["clean_accuracy"], 1, 100),
        robust,
        _number(row["gap"], 2),
        _p_value(row["p_value"]),
        _number(row["intra"], 2),
        _number(row["inter"], 2),
        ", ".join(row["flags"]),
    ]
    if one_protocol:
        del cells[2]
    return cells


def _number(value: float | None, digits: int, scale: float = 1) -> str:
    return "–" if value is None else f"{scale * value:.{digits}f}"


def _p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else _number(value, 3)


def _footnotes(done: Sequence[Row]) -> list[str]:
    lines = []
    if any(row["flags"] for row in done):
        lines.append(
            "– flagged: the number cannot be trusted, so the row is unranked (see `auditor results show MODEL`)."
        )
    if any(row["protocol"] == "screen" for row in done):
        lines.append(SCREEN_NOTE)
    if any(row["gap"] is not None for row in done):
        lines.append(GAP_NOTE)
    return lines


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """A heading and aligned names and values."""
    console = _console()
    console.print(Text(title, style="bold"))
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        console.print(Text(f"  {name:<{width}}  {value}"), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Console:
    """Stdout; wide enough for all columns where it is not a terminal."""
    width = None if sys.stdout.isatty() else max(160, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False)
