"""``auditor zoo``: what models there are."""

from pathlib import Path

import click

from auditor.cli.options import FORMAT
from auditor.cli.zoo_init import init


@click.group("zoo")
def command() -> None:
    """What models there are."""


command.add_command(init)


@command.command("list")
@click.argument("source", type=click.Choice(["demo", "local"]))
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--match", metavar="GLOB", help="Only models whose name matches, e.g. 'at-*'.")
@click.option("--dataset", help="Only models of this data set.")
@click.option("--threat-model", help="Only models of this threat model.")
@FORMAT
def list_models(
    source: str, folder: Path | None, match: str | None, dataset: str | None, threat_model: str | None, shape: str
) -> None:
    """List a zoo's models without constructing them.

    \b
    Examples:
      auditor zoo list demo
      auditor zoo list demo --match 'at-*' --format json
      auditor zoo list local my-models
    """
    from dataclasses import asdict

    from auditor.cli.tables import print_json, print_table
    from auditor.config import settings
    from auditor.records import format_eps
    from auditor.zoo import find_source, select

    zoo = find_source(source, settings().demo_weights if source == "demo" else folder)
    entries = select(zoo.entries(), match=match, dataset=dataset, threat_model=threat_model)
    if shape == "json":
        print_json([asdict(entry) for entry in entries])
    else:
        rows = [
            (entry.model, entry.dataset, f"{entry.norm} {format_eps(entry.eps)}", entry.description)
            for entry in entries
        ]
        print_table(("model", "dataset", "threat model", "description"), rows)
