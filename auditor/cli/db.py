"""``auditor db``: the database's schema and size; and how every command opens the database."""

from typing import TYPE_CHECKING

import click

from auditor.cli.group import Group
from auditor.cli.number_types import Count
from auditor.text.numbers import counted

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


@click.group("db", cls=Group)
def command() -> None:
    """Upgrade, check and prune the database."""


@command.command()
def upgrade() -> None:
    """Upgrade the schema to the current revision.

    Every command that opens an older database does this, too.

    \b
    Examples:
      auditor db upgrade
    """
    from auditor.db.session import current_revision, shown

    engine = open_database()
    click.echo(f"{shown(engine.url)}: revision {current_revision(engine)}")


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def downgrade(revision: str, yes: bool) -> None:
    """Downgrade the schema to REVISION, for an older version of auditor.

    Make a backup first, because data that the older tables cannot store is lost. The command counts what is lost, and
    prints it on stderr before it asks for confirmation. Models, scores, accuracies and per-sample verdicts stay.

    Any newer version that opens the database upgrades it again: stop all its processes, and install the older version
    before the database is next opened. The downgrade is refused while processes run audits.

    \b
    Examples:
      auditor db downgrade 0003
    """
    from auditor.db.downgrades import count_losses
    from auditor.db.session import check_downgrade, current_revision, shown
    from auditor.db.session import downgrade as downgrade_schema
    from auditor.db.workers import list_workers
    from auditor.errors import UsageError

    engine = open_database()
    alive = [row.worker for row in list_workers(engine) if row.seconds_silent < RECENT_SECONDS]
    if alive:
        raise UsageError(
            f"{', '.join(alive)} sent a heartbeat within the last {RECENT_SECONDS} s; stop all workers and scans first"
        )
    check_downgrade(engine, revision)
    for loss in count_losses(engine, revision):
        click.echo(f"this downgrade loses {loss}", err=True)
    change = f"{shown(engine.url)}: revision {current_revision(engine)} -> {revision}"
    if not yes:
        click.confirm(
            f"{change}. Data that the older tables cannot store is lost. Do you have a backup, and continue?",
            abort=True,
        )
    downgrade_schema(engine, revision)
    click.echo(change)


@command.command()
def check() -> None:
    """Check the schema against what this version of auditor expects.

    \b
    Examples:
      auditor db check

    Exit codes: 0 the schema is as expected; 3 it differs, and each difference is one line.
    """
    from auditor.db.session import schema_drift
    from auditor.errors import EnvironmentUnusableError

    drift = schema_drift(open_database())
    for line in drift:
        click.echo(line)
    if drift:
        raise EnvironmentUnusableError(
            f"the schema differs in {len(drift)} places from what this version of auditor expects"
        )
    click.echo("no drift")


@command.command()
@click.option(
    "--keep-per-model", "keep", type=Count(), required=True, metavar="N",
    help="Keep the matrices and verdicts of the N last verified audits of each model and setting.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
def prune(keep: int, dry_run: bool) -> None:
    """Remove the matrices, pictures of templates and per-sample verdicts of older audits.

    A setting is data set, protocol, norm, eps, linearization, sketch and number of samples. The scores, accuracies and
    attacks of all audits are kept, and all data of the newest audit. Removed data can only be computed again, by
    `auditor scan … --force`. An SQLite file is made smaller; PostgreSQL reuses the space by itself.

    \b
    Examples:
      auditor db prune --keep-per-model 30 --dry-run
      auditor db prune --keep-per-model 1
    """
    from auditor.db.prune import prune as prune_audits
    from auditor.db.prune import vacuum

    engine = open_database()
    pruned = prune_audits(engine, keep, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    click.echo(
        f"{verb} {counted(pruned.matrices, 'matrix', 'matrices')} and {counted(pruned.verdicts, 'per-sample verdict')} "
        f"of {counted(pruned.audits, 'audit')}: "
        f"{pruned.bytes:,} bytes"
    )
    if dry_run or not pruned.audits:
        return
    if engine.dialect.name != "sqlite":
        click.echo("PostgreSQL's autovacuum frees the space for new rows; the files keep their size")
    elif vacuum(engine):
        click.echo("the file was made smaller (VACUUM)")
    else:
        click.echo("the file keeps its size because other processes use it; new rows reuse the space")
