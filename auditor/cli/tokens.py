"""``auditor tokens``: who may ask the HTTP API, and for what."""

import click

from auditor.cli.numbers import DAYS, FiniteRange
from auditor.cli.options import FORMAT


@click.group("tokens")
def command() -> None:
    """Tokens of the HTTP API: add, list and revoke them."""


@command.command()
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "scan", "boost", "admin"]), required=True,
    help="read: results and checkpoints. scan, boost: read, and to start such work. admin: everything.",
)  # fmt: skip
@click.option(
    "--days", type=FiniteRange(0, min_open=True, most=DAYS), metavar="N", help="Good for so long; else until revoked."
)
def add(name: str, scope: str, days: float | None) -> None:
    """Make a token and print it: this once, since only its hash is stored.

    \b
    Examples:
      auditor tokens add ci --scope scan --days 90
      auditor tokens add laptop --scope read > token.txt
    """
    from auditor.cli.db import open_database
    from auditor.db.tokens import add_token

    click.echo(add_token(open_database(), name, scope, days))


@command.command("list")
@FORMAT
def list_(shape: str) -> None:
    """List tokens: name, scope, whether they are good, when they were used last.

    \b
    Examples:
      auditor tokens list
      auditor tokens list --format json
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.tokens import list_tokens

    rows = list_tokens(open_database())
    if shape == "json":
        print_json(rows)
    elif rows:
        names = ["name", "scope", "state", "created_at", "expires_at", "used_at"]
        print_table(names, [[row[name] or "" for name in names] for row in rows])
    else:
        click.echo("no tokens")


@command.command()
@click.argument("name")
def revoke(name: str) -> None:
    """End a token: the next request with it is refused.

    \b
    Examples:
      auditor tokens revoke laptop
    """
    from auditor.cli.db import open_database
    from auditor.db.tokens import revoke_token

    revoke_token(open_database(), name)
    click.echo(f"token {name} lets nobody in any more", err=True)
