"""``auditor db``: the database's schema and size; and how every command opens the database."""

from typing import TYPE_CHECKING

import click

from auditor.cli.numbers import Count

if TYPE_CHECKING:
    from sqlalchemy import Engine

RECENT_SECONDS = 30
"""A process without a heartbeat for this long no longer uses the database."""


def open_database() -> "Engine":
    """Open the database that the settings name."""
    from auditor.config import settings
    from auditor.db import session

    return session.open_database(settings().database_url)


def open_tidied() -> "Engine":
    """Open the database, and end the jobs in it whose processes ran on this machine and no longer exist."""
    from auditor.jobs.reaper import abandon_dead_scans

    engine = open_database()
    abandon_dead_scans(engine)
    return engine


@click.group("db")
def command() -> None:
    """The database: bring its schema up to date, check it, make it smaller."""


@command.command()
def upgrade() -> None:
    """Bring the schema up to date; every command does so on an empty or older database."""
    from auditor.db.session import current_revision, shown

    engine = open_database()
    click.echo(f"{shown(engine.url)}: revision {current_revision(engine)}")


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
def downgrade(revision: str, yes: bool) -> None:
    """Take the schema back to REVISION, for the auditor that was here before.

    What older tables have no place for is lost: make a backup first. Every newer auditor that opens the database brings
    it up to date again, so stop them all, and install the older one, before it is opened. Refused while processes run
    audits.

    \b
    Examples:
      auditor db downgrade 0003
    """
    from auditor.db.session import current_revision, shown
    from auditor.db.session import downgrade as take_back
    from auditor.db.workers import list_workers
    from auditor.errors import UsageError

    engine = open_database()
    alive = [row["worker"] for row in list_workers(engine) if row["seconds_silent"] < RECENT_SECONDS]
    if alive:
        raise UsageError(f"{', '.join(alive)} gave a sign of life just now: stop all workers and scans first")
    change = f"{shown(engine.url)}: revision {current_revision(engine)} -> {revision}"
    if not yes:
        click.confirm(
            f"{change}. What the older tables have no place for is lost. Is there a backup, and go on?", abort=True
        )
    take_back(engine, revision)
    click.echo(change)


@command.command()
def check() -> None:
    """Fail where the schema differs from what this auditor expects.

    Exit codes: 0 no difference; 3 differences, one a line.
    """
    from auditor.db.session import schema_drift
    from auditor.errors import EnvironmentUnusableError

    drift = schema_drift(open_database())
    for line in drift:
        click.echo(line)
    if drift:
        raise EnvironmentUnusableError(f"the schema differs from what is expected in {len(drift)} places")
    click.echo("no drift")


@command.command()
@click.option(
    "--keep-per-model", "keep", type=Count(), required=True, metavar="N",
    help="So many finished audits keep everything, of each model under one setting: those confirmed last.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Remove nothing: say what would be.")
def prune(keep: int, dry_run: bool) -> None:
    """Remove the matrices and verdicts by sample of older audits.

    A setting is data set, protocol, norm, eps, linearization, sketch and number of samples. Scores, accuracies and
    attacks of all audits stay, and everything of the newest one. What was removed comes back with `auditor scan …
    --force` only. An SQLite file is made smaller; PostgreSQL uses the space again by itself.

    \b
    Examples:
      auditor db prune --keep-per-model 30 --dry-run
      auditor db prune --keep-per-model 1
    """
    from auditor.db.prune import prune as remove
    from auditor.db.prune import vacuum

    engine = open_database()
    found = remove(engine, keep, dry_run=dry_run)
    would = "would remove" if dry_run else "removed"
    click.echo(
        f"{would} {found.matrices} matrices and {found.verdicts} verdicts by sample of {found.audits} audits: "
        f"{found.bytes:,} bytes"
    )
    if dry_run or not found.audits:
        return
    if engine.dialect.name != "sqlite":
        click.echo("PostgreSQL's autovacuum frees the space for what comes next; its files keep their size")
    elif vacuum(engine):
        click.echo("the file was made smaller (VACUUM)")
    else:
        click.echo("the file keeps its size while others use it; the space is used again for what comes next")
