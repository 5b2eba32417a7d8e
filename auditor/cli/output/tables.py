"""Result rows as tables for people: ranked by robust accuracy, flagged rows after the ranked ones."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from auditor.cli.output.layout import print_columns, print_line, print_note, terminal_width
from auditor.records import STOPPED_EARLY
from auditor.records.certificates import NO_BOUND
from auditor.records.results import ResultRow
from auditor.results.certificates import NOT_THE_MODEL
from auditor.results.ranking import (
    GAP_NOTE,
    SCREEN_NOTE,
    SKETCH_NOTE,
    UNRANKED_NOTE,
    best_first,
    describe_setting,
    format_gap_error,
    has_doubtful_claim,
    rank_of,
    setting_of,
)
from auditor.results.serialize import nan_to_none, serialize
from auditor.text.numbers import DASH, number, p_value, percent_number
from auditor.text.times import parse_time, relative_time


def print_json(rows: Sequence[Any]) -> None:
    """Records or dicts as one JSON array on stdout and nothing else; NaN is null."""
    values = [row if isinstance(row, dict) else serialize(row) for row in rows]
    click.echo(json.dumps(nan_to_none(values), indent=1))


def print_results(rows: Sequence[ResultRow], *, by_rank: bool = True) -> None:
    """A leaderboard for each setting: models that count, then flagged ones; below, those without a result.

    ``by_rank``: the rows have the order of robust accuracy; those that were only screened are sorted by their score.
    """
    done = [row for row in rows if row.status == "done"]
    omitted: list[str] = []
    for setting in dict.fromkeys(setting_of(row) for row in done):
        print_line(describe_setting(setting), "bold")
        group = [row for row in done if setting_of(row) == setting]
        omitted += _print_group(best_first(group) if by_rank else group)
    for row in rows:
        if row.status != "done":
            print_line(f"{row.model}: {row.status}: {row.reason or ''}", "red" if row.status == "failed" else "")
    for row in done:
        for part in row.not_measurable:
            print_line(f"{row.model}: not measurable: {part}", "yellow")
    for line in _footnotes(done, by_rank=by_rank):
        print_note(line)
    print_omitted(omitted)


def print_omitted(names: Iterable[str]) -> None:
    """Say which columns did not fit the terminal, and how to see them."""
    if left_out := list(dict.fromkeys(names)):
        print_note(
            f"Left out to fit {terminal_width()} columns: {', '.join(left_out)}. A wider terminal, `| less -S` or "
            "--format json shows them, and --columns chooses."
        )


_NO_INTERVAL, _INTERVAL = "robust %", "robust % (95 % interval)"
_NARROW = 70
"""Terminals with fewer columns get the robust accuracy without its interval."""
_COLUMNS = (
    "#", "model", "clean %", "claimed clean %", _NO_INTERVAL, _INTERVAL, "certified %", "smoothed certified %",
    "claimed robust %", "screen", "gap", "p", "intra", "inter", "flags",
)  # fmt: skip
_CLAIMS = {"claimed clean %": "claimed_clean_accuracy", "claimed robust %": "claimed_robust_accuracy"}
_CERTIFIED = {"certified %": "certified_accuracy", "smoothed certified %": "smoothed_certified_accuracy"}
_RIGHT = tuple(name for name in _COLUMNS if name not in ("model", "flags"))
_OPTIONAL = ("inter", "intra", "p", "claimed clean %", "clean %", "claimed robust %", "screen", "gap")


def _print_group(group: Sequence[ResultRow]) -> list[str]:
    """Print the rows of one setting, and return the columns that did not fit."""
    unclaimed = {
        name for name, key in (_CLAIMS | _CERTIFIED).items() if all(getattr(row, key) is None for row in group)
    }
    width = terminal_width()
    narrow = width is not None and width < _NARROW
    left_out = unclaimed | {_INTERVAL if narrow else _NO_INTERVAL} | ({"#"} if group[0].protocol == "screen" else set())
    columns = [name for name in _COLUMNS if name not in left_out]
    ranked = [row for row in group if not row.flags]
    flagged = [row for row in group if row.flags]
    better = sorted((row.robust_accuracy or 0 for row in ranked), reverse=True)
    lines = [*((row, rank_of(row, better)) for row in ranked), *((row, DASH) for row in flagged)]
    return [_INTERVAL] * narrow + print_columns(
        columns,
        [_cells(row, rank, columns) for row, rank in lines],
        right=_RIGHT,
        optional=_OPTIONAL,
        styles=["yellow" if row.flags else "" for row, _ in lines],
    )


def _cells(row: ResultRow, rank: str, columns: Sequence[str]) -> list[str]:
    interval = DASH
    if row.robust_interval is not None:
        interval = "{} ({}–{})".format(*map(percent_number, row.robust_interval))
    cells = {
        "#": rank,
        "model": row.model,
        "clean %": percent_number(row.clean_accuracy),
        _NO_INTERVAL: percent_number(row.robust_accuracy),
        _INTERVAL: interval,
        "claimed clean %": percent_number(row.claimed_clean_accuracy),
        "claimed robust %": percent_number(row.claimed_robust_accuracy) + ("*" if has_doubtful_claim(row) else ""),
        "certified %": percent_number(row.certified_accuracy),
        "smoothed certified %": percent_number(row.smoothed_certified_accuracy),
        "screen": number(row.screen_score),
        "gap": number(row.gap) + format_gap_error(row),
        "p": p_value(row.p_value),
        "intra": number(row.intra),
        "inter": number(row.inter),
        "flags": ", ".join(row.flags),
    }
    return [cells[name] for name in columns]


def _footnotes(done: Sequence[ResultRow], *, by_rank: bool) -> list[str]:
    lines = []
    if any(STOPPED_EARLY in row.flags for row in done):
        lines.append("– stopped_early: the gate was decided on a part of the images, so the row is unranked.")
    if any(set(row.flags) - {STOPPED_EARLY} for row in done):
        lines.append(
            "– flagged: the number cannot be trusted, so the row is unranked (see `auditor results show MODEL`)."
        )
    if any(has_doubtful_claim(row) for row in done):
        lines.append("* marked unreliable by its publisher.")
    if any(row.certified_accuracy == 0 for row in done):
        lines.append(f"certified 0: {NO_BOUND}.")
    if any(row.smoothed_certified_accuracy is not None for row in done):
        lines.append(f"smoothed certified: {NOT_THE_MODEL}.")
    for dataset, samples, n in dict.fromkeys((row.dataset, row.samples or 0, row.n or 0) for row in done):
        if 0 < n < samples:
            lines.append(f"{dataset} has fewer than {samples} test images: all {n} were used.")
    screened = [row for row in done if row.protocol == "screen"]
    if screened:
        from auditor.results.calibration import calibration_lines, score_lines

        lines += [SCREEN_NOTE, UNRANKED_NOTE] if by_rank else [SCREEN_NOTE]
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


def print_fields(
    names: Sequence[str], rows: Sequence[Any], optional: Sequence[str] = (), **formats: Callable[[Any], str]
) -> None:
    """A table of these fields of records; None is empty, and times are relative.

    ``optional`` ones may be left out on a narrow terminal; ``formats`` make a field's text from the row.
    """
    heads = [name.removesuffix("_at").replace("_", " ") for name in names]
    cells = [
        [formats[name](row) if name in formats else _field_text(name, getattr(row, name)) for name in names]
        for row in rows
    ]
    print_table(heads, cells, optional=[heads[names.index(name)] for name in optional])


def _field_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.endswith("_at"):
        return ago(value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def ago(time: str | datetime | None) -> str:
    """``3 minutes ago``; empty for None."""
    if time is None:
        return ""
    return relative_time(parse_time(time) if isinstance(time, str) else time, datetime.now(UTC))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """A table; the ``optional`` columns may be left out on a narrow terminal, the first ones first."""
    print_omitted(print_columns(columns, rows, right=right, optional=optional, styles=styles))
