"""``auditor zoo``: what models there are."""

from pathlib import Path
from typing import Any

import click

from auditor.cli.model_filters import choose, chosen
from auditor.cli.options import FORMAT
from auditor.cli.published import import_published
from auditor.cli.zoo_init import init


@click.group("zoo")
def command() -> None:
    """What models there are."""


command.add_command(import_published)
command.add_command(init)


@command.command("list")
@chosen
@FORMAT
def list_models(source: str, folder: Path | None, shape: str, **filters: Any) -> None:
    """List a zoo's models without constructing them.

    DIR is the folder of a local zoo, or of RobustBench's models.

    \b
    Examples:
      auditor zoo list demo
      auditor zoo list robustbench --dataset cifar10 --threat-model Linf
      auditor zoo list timm --pretrained-only --match 'resnet18*'
      auditor zoo list local ./my-zoo --format json
    """
    from dataclasses import asdict

    from auditor.cli.output.tables import print_json, print_table
    from auditor.text.eps import format_eps
    from auditor.zoo import find_source

    entries = choose(find_source(source, folder), **filters)
    if shape == "json":
        print_json([asdict(entry) for entry in entries])
    else:
        rows = [
            (entry.model, entry.dataset, entry.threat_model, f"{entry.norm} {format_eps(entry.eps)}", entry.description)
            for entry in entries
        ]
        print_table(("model", "dataset", "threat model", "audited under", "description"), rows)
