"""``auditor tokens``: access tokens of the HTTP API."""

import click

from auditor.cli.choice import Choice
from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.number_types import DAYS, FiniteRange


@click.group("tokens", cls=Group)
def command() -> None:
    """Add, list and revoke access tokens of the HTTP API."""


@command.command()
@click.argument("name")
@click.option(
    "--scope", type=Choice(["read", "scan", "boost", "admin"]), required=True,
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
@list_options()
def list_(listing: Listing) -> None:
    """List tokens: name, scope, state, and when they were last used.

    \b
    Examples:
      auditor tokens list
      auditor tokens list --format json
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_fields
    from auditor.db.tokens import list_tokens
    from auditor.records.tokens import TokenRow
    from auditor.results.serialize import keys_of

    names, optional = ["name", "scope", "state", "created_at", "expires_at", "used_at"], ["created_at", "expires_at"]
    rows = list_tokens(open_database())
    listing.print(
        rows, lambda chosen: print_fields(names, chosen, optional), nothing="no tokens", keys=keys_of(TokenRow)
    )


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
