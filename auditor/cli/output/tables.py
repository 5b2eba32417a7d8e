"""Result rows as tables for people: ranked by robust accuracy, flagged rows after the ranked ones."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from auditor.cli.output.layout import print_line, print_plain, styled
from auditor.records.results import ResultRow
from auditor.results.ranking import (
    GAP_NOTE,
    SCREEN_NOTE,
    SKETCH_NOTE,
    describe_setting,
    format_gap_error,
    has_doubtful_claim,
    rank_of,
    setting_of,
)
from auditor.results.serialize import nan_to_none, serialize
from auditor.text.numbers import DASH, number, p_value, percent_number
from auditor.text.printable import clean_cell


def print_json(rows: Sequence[Any]) -> None:
    """Records or dicts as one JSON array on stdout and nothing else; NaN is null."""
    values = [row if isinstance(row, dict) else serialize(row) for row in rows]
    click.echo(json.dumps(nan_to_none(values), indent=1))


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Comma-separated values with a header; lists are joined by semicolons, dicts are JSON."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: clean_cell(_cell(value)) for key, value in row.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value


def print_results(rows: Sequence[ResultRow]) -> None:
    """A leaderboard for each setting: models that count, then flagged ones; below, those without a result."""
    done = [row for row in rows if row.status == "done"]
    for setting in dict.fromkeys(setting_of(row) for row in done):
        print_line(describe_setting(setting), "bold")
        _print_group([row for row in done if setting_of(row) == setting])
    for row in rows:
        if row.status != "done":
            print_line(f"{row.model}: {row.status}: {row.reason or ''}", "red")
    for row in done:
        for part in row.not_measurable:
            print_line(f"{row.model}: not measurable: {part}", "yellow")
    for line in _footnotes(done):
        print_line(line, "dim")


_COLUMNS = (
    "#", "model", "clean %", "claimed clean %", "robust % (95 % interval)", "claimed robust %",
    "screen", "gap", "p", "intra", "inter", "flags",
)  # fmt: skip
_CLAIMS = {"claimed clean %": "claimed_clean_accuracy", "claimed robust %": "claimed_robust_accuracy"}
_RIGHT = tuple(name for name in _COLUMNS if name not in ("model", "flags"))
_DROPPED_FIRST = ("inter", "intra", "p", "claimed clean %", "clean %", "claimed robust %")


def _print_group(group: Sequence[ResultRow]) -> None:
    unclaimed = {name for name, key in _CLAIMS.items() if all(getattr(row, key) is None for row in group)}
    columns = [name for name in _COLUMNS if name not in unclaimed]
    ranked = [row for row in group if not row.flags]
    flagged = [row for row in group if row.flags]
    better = sorted((row.robust_accuracy or 0 for row in ranked), reverse=True)
    lines = [*((row, rank_of(row, better)) for row in ranked), *((row, DASH) for row in flagged)]

    def cells(columns: Sequence[str]) -> list[list[str]]:
        return [_cells(row, rank, columns) for row, rank in lines]

    if not styled():
        print_plain(columns, cells(columns), right=_RIGHT)
        return
    from auditor.cli.output.terminal import print_fitting

    print_fitting(columns, cells, [bool(row.flags) for row, _ in lines], _RIGHT, _DROPPED_FIRST)


def _cells(row: ResultRow, rank: str, columns: Sequence[str]) -> list[str]:
    robust = DASH
    if row.robust_interval is not None:
        robust = "{} ({}–{})".format(*map(percent_number, row.robust_interval))
    cells = {
        "#": rank,
        "model": row.model,
        "clean %": percent_number(row.clean_accuracy),
        "robust % (95 % interval)": robust,
        "claimed clean %": percent_number(row.claimed_clean_accuracy),
        "claimed robust %": percent_number(row.claimed_robust_accuracy) + ("*" if has_doubtful_claim(row) else ""),
        "screen": number(row.screen_score),
        "gap": number(row.gap) + format_gap_error(row),
        "p": p_value(row.p_value),
        "intra": number(row.intra),
        "inter": number(row.inter),
        "flags": ", ".join(row.flags),
    }
    return [cells[name] for name in columns]


def _footnotes(done: Sequence[ResultRow]) -> list[str]:
    lines = []
    if any(row.flags for row in done):
        lines.append(
            "– flagged: the number cannot be trusted, so the row is unranked (see `auditor results show MODEL`)."
        )
    if any(has_doubtful_claim(row) for row in done):
        lines.append("* marked unreliable by its publisher.")
    screened = [row for row in done if row.protocol == "screen"]
    if screened:
        from auditor.results.calibration import calibration_lines, score_lines

        lines.append(SCREEN_NOTE)
        for norm in dict.fromkeys(row.norm for row in screened if row.screen_score is not None):
            lines += score_lines(norm)
        for linearization in dict.fromkeys(row.linearization for row in screened):
            lines += calibration_lines(linearization)
    if any(row.gap_error is not None for row in done):
        lines.append(SKETCH_NOTE)
    if any(row.gap is not None for row in done):
        lines.append(GAP_NOTE)
    return lines


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """A heading and aligned names and values."""
    print_line(title, "bold")
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        print_line(f"  {name:<{width}}  {value}")


def print_fields(names: Sequence[str], rows: Sequence[Any], **formats: Callable[[Any], str]) -> None:
    """A plain table of these fields of records; None is empty. ``formats`` make a field's text from the row."""

    def text(row: Any, name: str) -> str:
        value = formats[name](row) if name in formats else getattr(row, name)
        return "" if value is None else str(value)

    print_table(names, [[text(row, name) for name in names] for row in rows])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    if styled():
        from auditor.cli.output.terminal import print_rich

        print_rich(columns, rows)
    else:
        print_plain(columns, rows)
