"""``auditor checkpoints``: list, export and plot the checkpoints of boosts."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.options import FIGURE

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.db.results import Detail
    from auditor.records.checkpoints import AuditSummary, CheckpointRow


class Number(click.ParamType[int]):
    """The ID of a checkpoint: ``7`` or ``checkpoint:7``."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(?:checkpoint:)?([0-9]{1,9})", str(value))
        if match is None:
            self.fail(f"expected the ID of a checkpoint, such as 7 or checkpoint:7, got {value!r}", param, ctx)
        return int(match[1])


@click.group("checkpoints", cls=Group)
def command() -> None:
    """List, export and plot the checkpoints that `auditor boost` made."""


@command.command("list")
@list_options()
def list_rows(listing: Listing) -> None:
    """List all checkpoints with their robust accuracy before and after.

    The verdict says whether the difference is significant.

    \b
    Examples:
      auditor checkpoints list
      auditor checkpoints list --format json
      auditor checkpoints list --sort -after.robust_accuracy --filter 'model=demo:*'
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_table
    from auditor.db.checkpoints import list_checkpoints
    from auditor.records.checkpoints import CheckpointRow
    from auditor.results.serialize import keys_of

    def print_rows(chosen: "Sequence[CheckpointRow]") -> None:
        columns = ("checkpoint", "parent", "robust % before → after", "verdict", "created", "recipe")
        print_table(columns, [_cells(row) for row in chosen], optional=("recipe", "created", "parent"))

    rows = list_checkpoints(open_database())
    nothing = "no checkpoints; `auditor boost MODEL` makes one"
    listing.print(rows, print_rows, nothing=nothing, keys=keys_of(CheckpointRow))


def _cells(row: "CheckpointRow") -> tuple[str, ...]:
    from auditor.checkpoints.wording import recipe_words
    from auditor.cli.output.tables import ago

    robust = f"{_robust(row.before)} → {_robust(row.after)}"
    return row.checkpoint, row.model, robust, row.verdict, ago(row.created_at), recipe_words(row.recipe)


def _robust(audit: "AuditSummary | None") -> str:
    """The robust accuracy in percent; ``!`` marks a flagged audit."""
    from auditor.text.numbers import DASH, percent_number

    if audit is None or audit.robust_accuracy is None:
        return DASH
    return f"{percent_number(audit.robust_accuracy)}{'!' if audit.flags else ''}"


@command.command()
@click.argument("number", metavar="ID", type=Number())
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Write to this folder, which has to be new or empty.",
)
@click.option(
    "--push-to-hub",
    "repo",
    metavar="REPO",
    help="Upload the folder to this repository of the Hugging Face hub: OWNER/NAME.",
)
@click.option("--private", is_flag=True, help="With --push-to-hub: if the repository is new, make it private.")
@click.option("--dry-run", is_flag=True, help="With --push-to-hub: write the folder and print what would be uploaded.")
def get(number: int, out: Path, repo: str | None, private: bool, dry_run: bool) -> None:
    """Write a checkpoint's weights, config.json and model card.

    The folder has the layout of timm and the Hugging Face hub. No file is overwritten: DIR must be empty, or contain
    exactly these files. --push-to-hub uses the login of `hf auth login`, or HF_TOKEN.

    \b
    Examples:
      auditor checkpoints get 7 --out my-model
      auditor checkpoints get 7 --out my-model --push-to-hub OWNER/NAME --dry-run
      auditor checkpoints get 7 --out my-model --push-to-hub OWNER/NAME --private
    """
    if (private or dry_run) and not repo:
        raise click.UsageError("--private and --dry-run need --push-to-hub")
    from auditor.checkpoints import check_repo, export_checkpoint, push
    from auditor.checkpoints.wording import is_gain, verdict_words
    from auditor.cli.db import open_database
    from auditor.db.checkpoints import load_checkpoint

    if repo:
        check_repo(repo)
    row = load_checkpoint(open_database(), number)
    for path in export_checkpoint(row, out):
        click.echo(str(path))
    if not is_gain(row):
        click.echo(verdict_words(row), err=True)
    for line in push(out, repo, private=private, dry_run=dry_run) if repo else ():
        click.echo(line)


@command.command()
@click.argument("number", metavar="ID", type=Number())
@FIGURE
def plot(number: int, output: Path) -> None:
    """Plot a boost's clean and PGD accuracy, gap and loss by epoch, and C before and after.

    \b
    Examples:
      auditor checkpoints plot 7 -o checkpoint-7.png
    """
    from auditor.checkpoints.wording import recipe_words, verdict_words
    from auditor.cli.db import open_database
    from auditor.db.checkpoints import load_checkpoint
    from auditor.plots import draw_boost, save

    engine = open_database()
    row = load_checkpoint(engine, number)
    details = [_detail(engine, row.before), _detail(engine, row.after)]
    before, after = (detail.clusterings.get("weights") if detail else None for detail in details)
    either = next((detail for detail in details if detail), None)
    figure = draw_boost(
        f"{row.checkpoint}, fine-tuned from {row.model}",
        f"{recipe_words(row.recipe)}. {verdict_words(row)}",
        row.history,
        row.best,
        before,
        after,
        either.classes if either else (),
        either.superclasses if either else (),
    )
    save(figure, output)
    click.echo(str(output))


def _detail(engine: "Engine", audit: "AuditSummary | None") -> "Detail | None":
    from auditor.db.results import load_detail

    return load_detail(engine, audit.audit) if audit else None
