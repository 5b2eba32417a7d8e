"""Prints the results of a scan, and one line that summarizes it."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.records.results import ResultRow
    from auditor.scans.local import ScanOutcome


def print_outcome(
    engine: "Engine", outcome: "ScanOutcome", output_format: str, triage: float | None = None
) -> "list[ResultRow]":
    """Print and return the rows of a scan; the table only if an audit has ended."""
    from auditor.cli.output.progress import say
    from auditor.cli.output.tables import print_json, print_results
    from auditor.db.results import Filter, list_results
    from auditor.db.session import shown
    from auditor.results.association import association_of_one_setting

    rows = list_results(engine, Filter(scan=outcome.scan_id))
    if output_format == "json":
        print_json(rows)
    elif outcome.ended:
        print_results(rows)
        for statement in association_of_one_setting(rows):
            click.echo(statement)
        if triage is not None:
            from auditor.results.triage import count_triage

            for line in count_triage(rows, triage).lines():
                click.echo(line)
        cancelled = f", {len(outcome.cancelled)} cancelled" if outcome.cancelled else ""
        say(
            f"scan {outcome.scan_id}: {len(outcome.done)} audited, {len(outcome.reused)} done before, "
            f"{len(outcome.failed)} failed{cancelled}; stored in {shown(engine.url)}"
        )
    return rows
