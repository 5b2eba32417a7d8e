"""``auditor report``: write a scan as one HTML file."""

from pathlib import Path

import click

from auditor.cli.scans import SCAN
from auditor.text.numbers import counted


@click.command("report")
@SCAN
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="Write this file, e.g. report.html.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(scan_id: int, output: Path, force: bool) -> None:
    """Write a scan as one self-contained HTML file, to send or to archive.

    The file contains the leaderboard, the plot of gap against robust accuracy, and for each model its heatmaps, the
    accuracy after each attack, its provenance and the command that repeats its audit. It opens offline, because it
    loads no other file. The report of a running scan contains the results so far, and says so. `auditor scans list`
    prints the IDs of scans.

    \b
    Examples:
      auditor report 7 -o report.html
      auditor report 7 -o nightly.html --force
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.progress import say
    from auditor.errors import UsageError
    from auditor.files import write_atomically
    from auditor.web.report import load_report, write_report

    if output.exists() and not force:
        raise UsageError(f"{output} already exists; add --force to overwrite it")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; create it first")
    report = load_report(open_database(), scan_id)
    text = write_report(report).encode()
    try:
        with write_atomically(output) as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    models = len(report.audits) + len(report.not_audited)
    say(f"{output}: scan {scan_id}, {counted(models, 'model')}, {len(text) / 1e6:.1f} MB")
