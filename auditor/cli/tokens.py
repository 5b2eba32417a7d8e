"""``auditor tokens``: access tokens of the HTTP API."""

import click

from auditor.cli.group import Group
from auditor.cli.numbers import DAYS, FiniteRange
from auditor.cli.options import FORMAT


@click.group("tokens", cls=Group)
def command() -> None:
    """Add, list and revoke access tokens of the HTTP API."""


@command.command()
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "scan", "boost", "admin"]), required=True,
    help="Grant access. read: results and checkpoints. scan, boost: also start scans or boosts. admin: everything.",
)  # fmt: skip
@click.option(
    "--days",
    type=FiniteRange(0, min_open=True, most=DAYS),
    metavar="N",
    help="Let the token expire after N days. By default: never.",
)
def add(name: str, scope: str, days: float | None) -> None:
    """Add a token and print it. It cannot be printed again, because only its hash is stored.

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
def list_(output_format: str) -> None:
    """List tokens: name, scope, state, and when they were last used.

    \b
    Examples:
      auditor tokens list
      auditor tokens list --format json
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_fields, print_json
    from auditor.db.tokens import list_tokens

    rows = list_tokens(open_database())
    if output_format == "json":
        print_json(rows)
    elif rows:
        names = ["name", "scope", "state", "created_at", "expires_at", "used_at"]
        print_fields(names, rows)
    else:
        click.echo("no tokens")


@command.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a token: requests with it are refused from now on.

    \b
    Examples:
      auditor tokens revoke laptop
    """
    from auditor.cli.db import open_database
    from auditor.db.tokens import revoke_token

    revoke_token(open_database(), name)
    click.echo(f"token {name} is revoked", err=True)
