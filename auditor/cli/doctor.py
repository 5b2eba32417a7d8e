"""``auditor doctor``: check whether this machine can run audits."""

import click

from auditor.cli.options import FORMAT


@click.command("doctor")
@click.option("--verbose", is_flag=True, help="List the checks that are ok, too.")
@FORMAT
def command(verbose: bool, output_format: str) -> None:
    """Check whether this machine can run audits.

    Checks packages, GPU, database, broker, traces, data sets, model folders and disk. Each check is ok, absent (needed
    only for some work) or broken; the last two say how to fix it. What is broken comes first. Nothing is changed or
    downloaded, except that an older database is upgraded.

    \b
    Examples:
      auditor doctor
      auditor doctor --verbose
      auditor doctor --format json

    Exit codes: 0 nothing is broken; 3 something is broken.
    """
    from collections import Counter
    from dataclasses import asdict

    from auditor.cli.output.tables import print_json, print_table
    from auditor.config import settings
    from auditor.errors import EnvironmentUnusableError
    from auditor.machine.doctor import examine
    from auditor.text.numbers import counted

    findings = examine(settings())
    if output_format == "json":
        print_json([asdict(finding) for finding in findings])
    else:
        styles = {"broken": "red", "absent": "", "ok": "dim"}
        shown = [one for state in styles for one in findings if one.state == state and (verbose or state != "ok")]
        if shown:
            rows = [(one.state, one.subject, one.text) for one in shown]
            print_table(("state", "subject", "finding"), rows, styles=[styles[one.state] for one in shown])
        counts = Counter(one.state for one in findings)
        more = "" if verbose else "; --verbose lists all"
        click.echo(
            f"{counted(len(findings), 'check')}: {counts['broken']} broken, {counts['absent']} absent and needed "
            f"only for some work, {counts['ok']} ok{more}"
        )
    broken = [finding.subject for finding in findings if finding.state == "broken"]
    if broken:
        raise EnvironmentUnusableError(f"broken: {', '.join(broken)}")
