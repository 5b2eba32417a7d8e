"""``auditor report``: a scan as one HTML file."""

from pathlib import Path

import click

from auditor.cli.scans import SCAN


@click.command("report")
@SCAN
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="The file to write, such as report.html.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(scan_id: int, output: Path, force: bool) -> None:
    """Write a scan as one self-contained HTML file, to mail or to archive.

    The leaderboard, the plot of gap against robust accuracy, and for each model its heatmaps, attack by attack bars,
    provenance and the command that repeats its audit. The file opens offline: it asks nothing of any other. Of a scan
    that still runs it holds what there is, and says so. `auditor scans list` shows the scans.

    \b
    Examples:
      auditor report 7 -o report.html
      auditor report 7 -o nightly.html --force
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.progress import say
    from auditor.errors import UsageError
    from auditor.files import write_atomically
    from auditor.web.report import load_report, write_report

    if output.exists() and not force:
        raise UsageError(f"{output} exists; say --force to write over it")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is no folder; make it first")
    report = load_report(open_settings(), scan_id)
    text = write_report(report).encode()
    try:
        with write_atomically(output) as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    models = len(report.audits) + len(report.not_audited)
    say(f"{output}: scan {scan_id}, {models} models, {len(text) / 1e6:.1f} MB")
