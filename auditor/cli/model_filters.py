"""Which zoo, and which of its models: shared by the commands that list and that scan."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.numbers import Count

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.zoo import Source

NAMES = ["demo", "robustbench", "timm", "local", "checkpoint"]


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and filters that choose models."""
    for parameter in reversed(
        (
            click.argument("source", type=click.Choice(NAMES), metavar=f"[{'|'.join(NAMES)}]"),
            click.argument(
                "folder",
                metavar="[DIR]",
                required=False,
                type=click.Path(exists=True, file_okay=False, path_type=Path),
            ),
            click.option("--match", metavar="GLOB", help="Only models whose name matches, e.g. 'at-*'."),
            click.option("--dataset", help="Only models of this data set, e.g. cifar10."),
            click.option("--threat-model", help="Only models of this threat model, e.g. Linf."),
            click.option("--pretrained-only", is_flag=True, help="timm: no architectures with random weights."),
            click.option("--limit", type=Count(), metavar="N", help="Only the first N models."),
        )
    ):
        command = parameter(command)
    return command


def auditable(zoo: "Source", entries: "list[ZooEntry]", named: tuple[str, ...]) -> "list[ZooEntry]":
    """The entries whose classes are known, or that are named one by one; the others cannot be audited.

    Raises:
        UsageError: none is left, or one needs code that is not trusted.
    """
    from auditor.cli.output.progress import say
    from auditor.data import has_hierarchy
    from auditor.errors import UsageError
    from auditor.zoo.local import LocalZoo

    if isinstance(zoo, LocalZoo):
        zoo.check(entries)
    known = [entry for entry in entries if named or has_hierarchy(entry)]
    sets = ", ".join(sorted({entry.dataset for entry in entries} - {entry.dataset for entry in known}))
    if not known:
        raise UsageError(f"no class hierarchy is known for {sets}, so that none of these models can be audited")
    if len(known) < len(entries):
        say(f"left out: {len(entries) - len(known)} models that have no classes with a known hierarchy ({sets})")
    return known


def choose(zoo: "Source", **filters: Any) -> "list[ZooEntry]":
    """The zoo's entries that the filters leave."""
    from auditor.zoo import select

    return select(zoo.entries(), **filters)
