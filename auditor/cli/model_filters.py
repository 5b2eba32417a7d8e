"""Options that select a zoo and its models, for the commands that list, scan and train models."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.choice import Choice
from auditor.cli.complete import complete_entry
from auditor.cli.number_types import Count
from auditor.records.sources import SOURCE_NAMES, SOURCES, names_repository
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.zoo import Source

LIMIT = click.option("--limit", type=Count(), metavar="N", help="Select only the first N models.")
MODELS = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_entry,
    help="Select only this model; repeatable.",
)


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
        """The zoo's entries that pass the filters. Descriptions of named models of the hub are downloaded.

        Raises:
            UsageError: a named model does not exist, or no entry passes.
            EnvironmentUnusableError: a named model of the hub is not on this machine, and the hub does not answer.
        """
        from auditor.zoo import select
        from auditor.zoo.hub import HubZoo

        if isinstance(zoo, HubZoo):
            zoo.fetch_descriptions(self.models)
        return select(zoo.entries(), **asdict(self))


class ZooFolder(click.Path):
    """The folder of a zoo; for the hub also the name of a repository, ``owner/name``, if no folder has that name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if ctx and ctx.params.get("source") == "hub" and names_repository(Path(value)):
            return Path(value)
        return super().convert(value, param, ctx)


def model_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments SOURCE and DIR and the filters of models."""
    for parameter in reversed(
        (
            click.argument("source", type=Choice(SOURCE_NAMES), metavar="SOURCE"),
            click.argument(
                "folder", metavar="[DIR]", required=False, type=ZooFolder(exists=True, file_okay=False, path_type=Path)
            ),
            click.option("--match", metavar="GLOB", help="Select only models whose name matches, e.g. 'at-*'."),
            click.option("--dataset", help="Select only models for this data set, e.g. cifar10."),
            click.option(
                "--threat-model",
                help="Select only models with this threat model, e.g. Linf. A scan with corruptions or corruptions_3d "
                "measures common corruptions instead of attacks: on the models that the zoo lists for them, or on all "
                "if it lists none. --data may hold CIFAR-10-C, CIFAR-100-C, ImageNet-C or ImageNet-3DCC as published; "
                "without them corruptions are generated.",
            ),
            click.option(
                "--pretrained-only",
                is_flag=True,
                help="For timm and torchvision: skip architectures with random weights.",
            ),
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
        say(f"skipped {counted(len(entries) - len(known), 'model')} because no class hierarchy is known for {sets}")
    return known


def find_entry(model: str, folder: Path | None, *, trust_code: bool) -> "ZooEntry":
    """The zoo entry of the model that a command names: ``source:id``, or an id that only one source has.

    Raises:
        UsageError: the source or the model does not exist, or several sources have the id.
    """
    from auditor.zoo import check_installed, find_source

    source, separator, _ = model.partition(":")
    if not separator or source not in SOURCES:
        model = find_model(model, folder)
        source = model.partition(":")[0]
    check_installed(source)
    zoo = find_source(source, folder, trust_code=trust_code)
    entries = ModelFilters(models=(model,)).select_entries(zoo)
    (entry,) = keep_auditable(zoo, entries, (model,))
    return entry


def find_model(name: str, folder: Path | None) -> str:
    """The full name of the only model with this id in all sources on this machine.

    A folder is the folder of a local zoo. The sources whose listing takes seconds are searched only if no other has
    the id.

    Raises:
        NotFoundError: no source has it.
        UsageError: several sources have it.
    """
    import contextlib

    from auditor.errors import AuditorError, NotFoundError, UsageError
    from auditor.text.similar import similar_names
    from auditor.zoo import check_installed, find_source

    names: list[str] = []
    found: list[str] = []
    for slow in (False, True):
        for source in (source for source in SOURCE_NAMES if SOURCES[source].slow == slow and not found):
            if (source == "local") != (folder is not None):
                continue
            with contextlib.suppress(AuditorError):  # a source that is not installed, or has no models
                check_installed(source)
                names += [entry.model for entry in find_source(source, folder).entries()]
        found = [full for full in names if full.partition(":")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name!r} is ambiguous: {', '.join(found)}; give the name with its source")
    ids = {full.partition(":")[2]: full for full in names}
    near = [ids[one] for one in similar_names(name, ids)]
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"give it as SOURCE:NAME, with one of {', '.join(SOURCE_NAMES)}"
    )
    raise NotFoundError(f"no model named {name!r}; {hint}")
