"""Prints the result of a boost: the audits before and after, and whether the difference is significant."""

import click

from auditor.checkpoints.wording import recipe_words
from auditor.cli.output.tables import print_table
from auditor.records.checkpoints import AuditSummary, CheckpointRow
from auditor.text.eps import format_eps
from auditor.text.numbers import interval, number, percent_narrow, points, significant


def print_boost(row: CheckpointRow) -> None:
    """The audits before and after, and the verdict."""
    click.echo(f"{row.checkpoint}, from {row.model}: {recipe_words(row.recipe)}; epoch {row.best} was kept")
    if row.stopped:
        click.echo(f"ended early: {row.stopped}")
    before, after = row.before, row.after
    if before and after:
        print_table(
            ["", "before", "after"],
            [
                ["clean accuracy", *(percent_narrow(one.clean_accuracy) for one in (before, after))],
                [
                    f"robust accuracy, {row.norm} {format_eps(row.eps)}, {row.protocol}",
                    *(_robust(one) for one in (before, after)),
                ],
                ["gap of C", *("none" if one.gap is None else number(one.gap) for one in (before, after))],
                ["flags", *(", ".join(one.flags) for one in (before, after))],
            ],
        )
    click.echo(verdict_line(row))


def _robust(one: AuditSummary) -> str:
    if one.robust_interval is None:
        return "none"
    robust, low, high = one.robust_interval
    return f"{percent_narrow(robust)} ({interval(low, high, percent_narrow)})"


def verdict_line(row: CheckpointRow) -> str:
    """The verdict with its numbers."""
    found = row.comparison
    if found is None:
        return f"{row.checkpoint} is not audited: its robustness is unknown"
    return (
        f"{row.verdict}: robust accuracy {points(found.difference)} points, "
        f"95 % interval {interval(found.low, found.high, points)}; of {found.n} images "
        f"{found.only_after} are robust only after, {found.only_before} only before, "
        f"McNemar p = {significant(found.p_value, 2)}"
    )
