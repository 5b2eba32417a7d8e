"""Options that select a zoo and its models, for the commands that list, scan and train models."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.numbers import Count

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.zoo import Source

NAMES = ["demo", "robustbench", "timm", "local", "checkpoint"]
LIMIT = click.option("--limit", type=Count(), metavar="N", help="Select only the first N models.")
MODELS = click.option("--model", "models", multiple=True, metavar="NAME", help="Select only this model; repeatable.")


@dataclass(frozen=True, kw_only=True)
class ModelFilters:
    """Which models of a zoo to use: the values of the options of :func:`model_filters`, ``MODELS`` and ``LIMIT``."""

    models: tuple[str, ...] = ()
    match: str | None = None
    dataset: str | None = None
    threat_model: str | None = None
    pretrained_only: bool = False
    limit: int | None = None

    def select_entries(self, zoo: "Source") -> "list[ZooEntry]":
        """The zoo's entries that pass the filters.

        Raises:
            UsageError: a named model does not exist, or no entry passes.
        """
        from auditor.zoo import select

        return select(zoo.entries(), **asdict(self))


def model_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments SOURCE and DIR and the filters of models."""
    for parameter in reversed(
        (
            click.argument("source", type=click.Choice(NAMES), metavar=f"[{'|'.join(NAMES)}]"),
            click.argument(
                "folder", metavar="[DIR]", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
            ),
            click.option("--match", metavar="GLOB", help="Select only models whose name matches, e.g. 'at-*'."),
            click.option("--dataset", help="Select only models for this data set, e.g. cifar10."),
            click.option("--threat-model", help="Select only models with this threat model, e.g. Linf."),
            click.option("--pretrained-only", is_flag=True, help="For timm: skip architectures with random weights."),
        )
    ):
        command = parameter(command)
    return command


def keep_auditable(zoo: "Source", entries: "list[ZooEntry]", named: tuple[str, ...]) -> "list[ZooEntry]":
    """Drop the entries that cannot be audited because their class hierarchy is unknown; keep entries named one by one.

    Raises:
        UsageError: no entry remains, or one needs code that is not trusted.
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
        say(f"skipped {len(entries) - len(known)} models because no class hierarchy is known for {sets}")
    return known


def find_entry(model: str, folder: Path | None, *, trust_code: bool) -> "ZooEntry":
    """The zoo entry of the model that a command names as ``source:id``.

    Raises:
        UsageError: the source or the model does not exist.
    """
    from auditor.errors import UsageError
    from auditor.zoo import SOURCES, check_installed, find_source

    source, separator, _ = model.partition(":")
    if not separator or source not in SOURCES:
        raise UsageError(f"expected a model as SOURCE:NAME, with a source of {', '.join(SOURCES)}; got {model!r}")
    check_installed(source)
    zoo = find_source(source, folder, trust_code=trust_code)
    entries = ModelFilters(models=(model,)).select_entries(zoo)
    (entry,) = keep_auditable(zoo, entries, (model,))
    return entry
