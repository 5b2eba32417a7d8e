"""``auditor`` without a command: what to do next, by what the database holds."""

from collections.abc import Mapping
from pathlib import Path

import click

from auditor.config import settings
from auditor.records.scans import ScanRow
from auditor.text.numbers import counted

SQLITE = "sqlite:///"


def print_first_steps() -> None:
    """Print a few commands for somebody who starts, or who has results."""
    url = settings().database_url
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists():  # looking must not create it
        _print_start()
        return
    from sqlalchemy.exc import SQLAlchemyError

    from auditor.db.results import count_audits
    from auditor.db.scans import list_scans
    from auditor.db.session import engine_of

    engine = engine_of(url)
    try:
        audits, scans = count_audits(engine), list_scans(engine, limit=1)
    except SQLAlchemyError:  # an older schema, or a database that does not answer
        _print_start("The database cannot be read; `auditor doctor` says why.")
        return
    if scans:
        _print_results(audits, scans[0])
    else:
        _print_start()


def _print_start(first: str = "No results are stored yet. Start with one of these:") -> None:
    click.echo("auditor measures how robust image classifiers are against adversarial attacks.\n")
    _print_commands(
        first,
        {
            "auditor scan demo": "audit the demo zoo; needs no data, and takes about a minute",
            "auditor init": "set up an audit of your own model; asks where it is",
            "auditor doctor": "say what this machine can do",
            "auditor --help": "list all commands",
        },
    )


def _print_results(audits: int, last: ScanRow) -> None:
    from auditor.cli.output.tables import ago

    number, source = last.scan, last.source
    state = "is running" if last.state == "running" else f"is {last.state}"
    first = {f"auditor scans show {number}": "show what is running"} if last.state == "running" else {}
    _print_commands(
        f"{counted(audits, 'audit')} stored; the last scan, {number} of {source}, started {ago(last.started_at)} and "
        f"{state}.",
        {
            **first,
            "auditor results list": "list the newest result of each model",
            "auditor serve": "look at them in a browser",
            f"auditor report {number} -o report.html": f"write scan {number} as one file",
            "auditor --help": "list all commands",
        },
    )


def _print_commands(first: str, commands: Mapping[str, str]) -> None:
    click.echo(first)
    width = max(map(len, commands))
    for command, purpose in commands.items():
        click.echo(f"  {command:<{width}}  # {purpose}")
