"""Result rows as tables for people: ranked by robust accuracy, flagged rows after the ranked ones."""

import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.cli.calibrated import calibration_lines
from auditor.eps import format_eps

Row = dict[str, Any]
GAP_NOTE = "The gap is evidence, not proof: robustness is what survives the attacks."
SKETCH_NOTE = "± is the standard error of a gap that was estimated from random images (--sketch)."
SCREEN_NOTE = "screen: not evidence of robustness. No model was attacked."


def print_json(rows: Sequence[Row]) -> None:
    """One JSON array on stdout and nothing else; NaN is null."""
    click.echo(json.dumps([finite(row) for row in rows], indent=1))


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
    """A leaderboard for each setting: models that count, then flagged ones; below, those without a result."""
    console = _console()
    done = [row for row in rows if row["status"] == "done"]
    for setting in dict.fromkeys(setting_of(row) for row in done):
        group = [row for row in done if setting_of(row) == setting]
        console.print(Text(describe(setting), style="bold"), soft_wrap=True)
        console.print(_fitting(group, console))
    for row in rows:
        if row["status"] != "done":
            console.print(Text(f"{row['model']}: {row['status']}: {row['reason'] or ''}", style="red"), soft_wrap=True)
    for row in done:
        for part in row["not_measurable"]:
            console.print(Text(f"{row['model']}: not measurable: {part}", style="yellow"), soft_wrap=True)
    for line in _footnotes(done):
        console.print(Text(line, style="dim"), soft_wrap=True)


Setting = tuple[str, str, str, float, int, str, int | None]


def setting_of(row: Row) -> Setting:
    """What two rows must share to be ranked together: protocol, data set, norm, eps, n, linearization, sketch."""
    asked = row["protocol"], row["dataset"], row["norm"], row["eps"]
    return *asked, row["n"] or 0, row["linearization"], row["sketch"]


def describe(setting: Setting) -> str:
    """``quick, fashion_mnist, Linf 0.1, n = 256``, whether batch norm was folded and C is a sketch."""
    protocol, dataset, norm, eps, n, linearization, sketch = setting
    attacked = f", {norm} {format_eps(eps)}, n = {n}" if n else ""
    folded = ", batch norm folded" if linearization == "fold" else ""
    return f"{protocol}, {dataset}{attacked}{folded}{'' if sketch is None else f', C a sketch of {sketch} probes'}"


_COLUMNS = (
    "#", "model", "clean %", "claimed clean %", "robust % (95 % interval)", "claimed robust %",
    "gap", "p", "intra", "inter", "flags",
)  # fmt: skip
_CLAIMS = {"claimed clean %": "claimed_clean_accuracy", "claimed robust %": "claimed_robust_accuracy"}
_LEFT = ("model", "flags")
_DROPPED_FIRST = ("inter", "intra", "p", "claimed clean %", "clean %", "claimed robust %")


def _fitting(group: Sequence[Row], console: Console) -> Table:
    """The table with as many columns as fit the terminal; never a number cut short."""
    unclaimed = {name for name, key in _CLAIMS.items() if all(row[key] is None for row in group)}
    columns = [name for name in _COLUMNS if name not in unclaimed]
    for name in (*(name for name in _DROPPED_FIRST if name not in unclaimed), None):
        table = _table(group, columns)
        width = _UNBOUNDED.measure(table).maximum
        if name is None or width <= console.width:
            break
        columns.remove(name)
    console.width = max(width, console.width)  # what still does not fit wraps, whole
    return table


_UNBOUNDED = Console(width=10_000)


def _table(group: Sequence[Row], columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    ranked = [row for row in group if not row["flags"]]
    for row in ranked:
        table.add_row(*_cells(row, _rank(row, ranked), columns))
    for row in (row for row in group if row["flags"]):
        table.add_row(*_cells(row, "–", columns), style="dim")
    return table


def _rank(row: Row, ranked: Sequence[Row]) -> str:
    """Equal robust accuracies share a rank; without one there is none."""
    accuracy = row["robust_accuracy"]
    if accuracy is None:
        return ""
    return str(1 + sum((other["robust_accuracy"] or 0) > accuracy for other in ranked))


def _cells(row: Row, rank: str, columns: Sequence[str]) -> list[str]:
    robust = "–"
    if row["robust_accuracy"] is not None:
        low, high = 100 * row["robust_low"], 100 * row["robust_high"]
        robust = f"{100 * row['robust_accuracy']:.1f} ({low:.1f}–{high:.1f})"
    cells = {
        "#": rank,
        "model": row["model"],
        "clean %": _number(row["clean_accuracy"], 1, 100),
        "robust % (95 % interval)": robust,
        "claimed clean %": _number(row["claimed_clean_accuracy"], 1, 100),
        "claimed robust %": _number(row["claimed_robust_accuracy"], 1, 100) + ("*" if _doubtful(row) else ""),
        "gap": _number(row["gap"], 2) + error_of(row),
        "p": _p_value(row["p_value"]),
        "intra": _number(row["intra"], 2),
        "inter": _number(row["inter"], 2),
        "flags": ", ".join(row["flags"]),
    }
    return [cells[name] for name in columns]


def _doubtful(row: Row) -> bool:
    """Whether the row shows a claim that its publisher marked unreliable."""
    return bool(row["claimed_unreliable"]) and row["claimed_robust_accuracy"] is not None


def _number(value: float | None, digits: int, scale: float = 1) -> str:
    return "–" if value is None else f"{scale * value:.{digits}f}"


def error_of(row: Row) -> str:
    """``±0.01``, the standard error of a sketch's gap; nothing for an exact one."""
    error = row["gap_error"]
    return "" if error is None else f"±{error:.{2 if error >= 0.005 else 3}f}"


def _p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else _number(value, 3)


def _footnotes(done: Sequence[Row]) -> list[str]:
    lines = []
    if any(row["flags"] for row in done):
        lines.append(
            "– flagged: the number cannot be trusted, so the row is unranked (see `auditor results show MODEL`)."
        )
    if any(_doubtful(row) for row in done):
        lines.append("* marked unreliable by its publisher.")
    screened = [row for row in done if row["protocol"] == "screen"]
    if screened:
        lines.append(SCREEN_NOTE)
    for linearization in dict.fromkeys(row["linearization"] for row in screened):
        lines += calibration_lines(linearization)
    if any(row["gap_error"] is not None for row in done):
        lines.append(SKETCH_NOTE)
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
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, no_wrap=place < len(columns) - 1)  # names are there to be copied, words may wrap
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # brackets are no markup
    _console().print(table)


def _console() -> Console:
    """Stdout; wide enough for all columns where it is not a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(width=None if terminal else 1000, highlight=False)
