"""``auditor zoo``: list models, start and check local zoos, import published results."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.model_filters import ModelFilters, model_filters
from auditor.cli.options import FORMAT, parse_options
from auditor.text.numbers import counted
from auditor.text.printable import clean_line

if TYPE_CHECKING:
    from auditor.records import ZooEntry


@click.group("zoo", cls=Group)
def command() -> None:
    """List the models of a zoo, start and check local zoos, and import published results."""


@command.command("list")
@model_filters
@list_options()
def list_models(source: str, folder: Path | None, listing: Listing, **filters: Any) -> None:
    """List the models of a zoo without constructing them.

    DIR is the folder of a local zoo, of RobustBench's models or of the hub's snapshots. For hub it may also be a
    repository, OWNER/NAME.

    \b
    Examples:
      auditor zoo list demo
      auditor zoo list robustbench --dataset cifar10 --threat-model Linf
      auditor zoo list timm --pretrained-only --match 'resnet18*'
      auditor zoo list torchvision --match 'vit_*'
      auditor zoo list hub
      auditor zoo list local ./my-zoo --format json
      auditor zoo list demo --filter 'training.method=trades' --sort model
    """
    from dataclasses import asdict

    from auditor.cli.output.tables import print_table
    from auditor.records import ZooEntry
    from auditor.results.serialize import keys_of
    from auditor.text.eps import format_threat
    from auditor.zoo import find_source

    entries = parse_options(ModelFilters, filters).select_entries(find_source(source, folder))

    def print_entries(chosen: Sequence["ZooEntry"]) -> None:
        rows = [
            (entry.model, entry.dataset, entry.threat_model, format_threat(entry.norm, entry.eps), entry.description)
            for entry in chosen
        ]
        columns = ("model", "dataset", "threat model", "audited under", "description")
        print_table(columns, rows, optional=("description", "threat model", "dataset"))

    listing.print(entries, print_entries, nothing="no models", keys=keys_of(ZooEntry), values=asdict)


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a folder with an example zoo.toml to fill in.

    An existing zoo.toml is never overwritten.

    \b
    Example:
      auditor zoo init my-models
    """
    from auditor.errors import UsageError
    from auditor.zoo.local import EXAMPLE, FILE

    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as example:
            example.write(EXAMPLE.read_bytes())
    except FileExistsError as error:
        raise UsageError(f"{file} already exists and was not changed; name another folder") from error
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    check = shlex.join(["auditor", "zoo", "list", "local", str(folder)])
    click.echo(clean_line(f"{file}: fill in the names of your files, then check it with `{check}`"))


@command.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--weights", is_flag=True, help="Also check that each file of weights exists and has its sha256.")
def check(paths: tuple[Path, ...], weights: bool) -> None:
    """Check local zoos: every mistake in zoo.toml with its line; no code of a folder runs.

    PATH is a folder or its zoo.toml. docs/evidence.md shows how pre-commit runs this before each commit.

    \b
    Examples:
      auditor zoo check my-models --weights
      auditor zoo check team-a/zoo.toml team-b/zoo.toml

    Exit codes: 0 all zoos are valid; 2 some have mistakes.
    """
    from auditor.cli.output.progress import say
    from auditor.errors import UsageError
    from auditor.zoo.local import FILE, LocalZoo

    wrong = 0
    for path in paths:
        if path.name != FILE and not path.is_dir():
            raise UsageError(f"expected the folder of a zoo or its {FILE}, got {path}")
        zoo = LocalZoo(path if path.is_dir() else path.parent)
        try:
            entries = zoo.entries()
            problems = list(zoo.find_bad_weights()) if weights else []
        except UsageError as error:
            problems = str(error).splitlines()
        for line in problems:
            say(f"{path if path.is_dir() else path.parent}: {line}")
        if problems:
            wrong += 1
        else:
            click.echo(clean_line(f"{path}: {counted(len(entries), 'model')}"))
    if wrong:
        raise UsageError(f"{wrong} of {counted(len(paths), 'zoo file')} with mistakes")


@command.command("import-published")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@FORMAT
def import_published(folder: Path, output_format: str) -> None:
    """Import RobustBench's published results from DIR, a copy of its folder model_info.

    DIR may also be the folder of one data set or one threat model in it. `auditor results` then shows the claimed
    accuracies beside the measured ones, and flags results that differ. Import again to update the published results.

    \b
    Examples:
      auditor zoo import-published robustbench/model_info
      auditor zoo import-published robustbench/model_info/cifar10 --format json

    Exit codes: 0 all files are imported; 1 some files are invalid, and the others are imported; 2 wrong usage; 3 the
    database is not usable.
    """
    from dataclasses import asdict

    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_json
    from auditor.db.published import store_published
    from auditor.errors import AuditorError, UsageError
    from auditor.zoo.robustbench.published import find_files, read_published

    files = find_files(folder)
    found, bad = {}, {}
    for file in files:
        try:
            found[file] = read_published(file)
        except UsageError as error:
            bad[file] = str(error)
    outcome = store_published(open_database(), found.values())
    rows: list[dict[str, Any]] = [
        {"file": str(file), "status": outcome[figures.model], "reason": None, **asdict(figures)}
        for file, figures in found.items()
    ]
    rows += [{"file": str(file), "status": "bad", "reason": reason} for file, reason in bad.items()]
    if output_format == "json":
        print_json(rows)
    else:
        _print_summary(rows)
    for file, reason in bad.items():
        click.echo(clean_line(f"{file}: {reason}"), err=True)
    if bad:
        raise AuditorError(
            f"{len(bad)} of {len(files)} files were not imported because they are invalid; fix or remove them"
        )


def _print_summary(rows: list[dict[str, Any]]) -> None:
    """How many files of each data set and threat model were new, updated, unchanged or bad."""
    from collections import Counter

    from auditor.cli.output.tables import print_table

    statuses = ("new", "updated", "unchanged", "bad")
    counts = Counter(("/".join(Path(row["file"]).parts[-3:-1]), row["status"]) for row in rows)
    print_table(
        ("published", *statuses),
        [
            (group, *(str(counts[group, status]) for status in statuses))
            for group in sorted({group for group, _ in counts})
        ],
    )
    unreliable = sum(bool(row.get("unreliable")) for row in rows)
    click.echo(
        f"{counted(sum(row['status'] != 'bad' for row in rows), 'model')} imported, {unreliable} of them marked "
        "unreliable by the publisher"
    )
