"""``auditor db``: the database's schema."""

import click


@click.group("db")
def command() -> None:
    """The database: bring its schema up to date, check it."""


@command.command()
def upgrade() -> None:
    """Bring the schema up to date; every command does so on an empty or older database."""
    from auditor.config import settings
    from auditor.db.session import current_revision, open_database

    engine = open_database(settings().database_url)
    click.echo(f"{engine.url.render_as_string()}: revision {current_revision(engine)}")


@command.command()
def check() -> None:
    """Fail where the schema differs from what this auditor expects.

    Exit codes: 0 no difference; 3 differences, one a line.
    """
    from auditor.config import settings
    from auditor.db.session import open_database, schema_drift
    from auditor.errors import EnvironmentUnusableError

    drift = schema_drift(open_database(settings().database_url))
    for line in drift:
        click.echo(line)
    if drift:
        raise EnvironmentUnusableError(f"the schema differs from what is expected in {len(drift)} places")
    click.echo("no drift")
