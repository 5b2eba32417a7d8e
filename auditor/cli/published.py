"""``auditor zoo import-published``: what was published of models, to be shown beside what is measured."""

from pathlib import Path
from typing import Any

import click

from auditor.cli.options import FORMAT
from auditor.text.printable import clean_line


@click.command("import-published")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@FORMAT
def import_published(folder: Path, shape: str) -> None:
    """Import RobustBench's published figures from DIR, a copy of its folder model_info.

    DIR may also be one data set of it, or one threat model. `auditor results` then shows claimed beside measured
    accuracies and flags what does not fit. Importing again brings the figures up to date.

    \b
    Examples:
      auditor zoo import-published robustbench/model_info
      auditor zoo import-published robustbench/model_info/cifar10 --format json

    \b
    Exit codes: 0 all files imported; 1 some are bad, the others are imported; 2 usage; 3 database not usable.
    """
    from dataclasses import asdict

    from auditor.cli.output.tables import print_json
    from auditor.config import settings
    from auditor.db.published import store_published
    from auditor.db.session import open_database
    from auditor.errors import AuditorError, UsageError
    from auditor.zoo.model_info import find_files, read_published

    files = find_files(folder)
    found, bad = {}, {}
    for file in files:
        try:
            found[file] = read_published(file)
        except UsageError as error:
            bad[file] = str(error)
    outcome = store_published(open_database(settings().database_url), found.values())
    rows: list[dict[str, Any]] = [
        {"file": str(file), "status": outcome[figures.model], "reason": None, **asdict(figures)}
        for file, figures in found.items()
    ]
    rows += [{"file": str(file), "status": "bad", "reason": reason} for file, reason in bad.items()]
    if shape == "json":
        print_json(rows)
    else:
        _print_summary(rows)
    for file, reason in bad.items():
        click.echo(clean_line(f"{file}: {reason}"), err=True)
    if bad:
        raise AuditorError(f"{len(bad)} of {len(files)} files were not imported; mend or remove them and import again")


def _print_summary(rows: list[dict[str, Any]]) -> None:
    """How many files of each data set and threat model were new, updated, unchanged or bad."""
    from collections import Counter

    from auditor.cli.output.tables import print_table

    statuses = ("new", "updated", "unchanged", "bad")
    counts = Counter(("/".join(Path(row["file"]).parts[-3:-1]), row["status"]) for row in rows)
    print_table(
        ("published", *statuses),
        [
            (group, *(str(counts[group, status]) for status in statuses))
            for group in sorted({group for group, _ in counts})
        ],
    )
    unreliable = sum(bool(row.get("unreliable")) for row in rows)
    click.echo(
        f"{sum(row['status'] != 'bad' for row in rows)} models imported, {unreliable} of them marked unreliable by the "
        "publisher"
    )
