"""``auditor doctor``: check whether this machine can run audits."""

import click

from auditor.cli.options import FORMAT


@click.command("doctor")
@FORMAT
def command(output_format: str) -> None:
    """Check whether this machine can run audits.

    Checks packages, GPU, database, broker, data sets, model folders and disk. Each check is ok, absent (needed only for
    some work) or broken; the last two say how to fix it. Nothing is changed or downloaded, except that an older
    database is upgraded.

    \b
    Examples:
      auditor doctor
      auditor doctor --format json

    Exit codes: 0 nothing is broken; 3 something is broken.
    """
    from dataclasses import asdict

    from auditor.cli.output.tables import print_json, print_table
    from auditor.config import settings
    from auditor.errors import EnvironmentUnusableError
    from auditor.machine.doctor import examine

    findings = examine(settings())
    if output_format == "json":
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ("state", "subject", "finding"), [(finding.state, finding.subject, finding.text) for finding in findings]
        )
    broken = [finding.subject for finding in findings if finding.state == "broken"]
    if broken:
        raise EnvironmentUnusableError(f"broken: {', '.join(broken)}")
