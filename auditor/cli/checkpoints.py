"""``auditor checkpoints``: list what fine-tuning has made, hand it out, draw it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import FORMAT

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.db.results import Detail


class Number(click.ParamType[int]):
    """A checkpoint's number: ``7`` or ``checkpoint:7``."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(?:checkpoint:)?([0-9]{1,9})", str(value))
        if found is None:
            self.fail(f"expected the ID of a checkpoint, such as 7 or checkpoint:7, got {value!r}", param, ctx)
        return int(found[1])


@click.group("checkpoints")
def command() -> None:
    """What fine-tuning has made: list, hand out, draw."""


@command.command("list")
@FORMAT
def list_rows(shape: str) -> None:
    """All checkpoints, with robust accuracy before and after, and whether the difference is more than chance.

    \b
    Examples:
      auditor checkpoints list
      auditor checkpoints list --format json
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.checkpoints import list_checkpoints

    rows = list_checkpoints(open_settings())
    if shape == "json":
        print_json(rows)
    elif rows:
        columns = ("checkpoint", "parent", "robust % before → after", "verdict", "recipe")
        print_table(columns, [_cells(row) for row in rows])
    else:
        click.echo("no checkpoints: `auditor boost MODEL` makes some", err=True)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from auditor.checkpoints.wording import recipe_words

    before, after = (_robust(row[when]) for when in ("before", "after"))
    return row["checkpoint"], row["model"], f"{before} → {after}", row["verdict"], recipe_words(row["recipe"])


def _robust(audit: dict[str, Any] | None) -> str:
    """In percent; ``!`` where the audit is flagged."""
    if audit is None or audit["robust_accuracy"] is None:
        return "–"
    return f"{100 * audit['robust_accuracy']:.1f}{'!' if audit['flags'] else ''}"


@command.command()
@click.argument("number", metavar="ID", type=Number())
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="An empty folder, or one to be made."
)
@click.option("--push-to-hub", "repo", metavar="REPO", help="Send it to this repository of the hub, OWNER/NAME.")
@click.option("--private", is_flag=True, help="With --push-to-hub: a repository that is made is private.")
@click.option("--dry-run", is_flag=True, help="With --push-to-hub: write the folder, and say what would be sent.")
def get(number: int, out: Path, repo: str | None, private: bool, dry_run: bool) -> None:
    """Write a checkpoint's weights, config.json and model card, as timm and the Hugging Face hub read them.

    Nothing is overwritten: DIR may hold nothing, or these very files. --push-to-hub uses the login of `hf auth login`,
    or HF_TOKEN.

    \b
    Examples:
      auditor checkpoints get 7 --out handed-out
      auditor checkpoints get 7 --out handed-out --push-to-hub OWNER/NAME --dry-run
      auditor checkpoints get 7 --out handed-out --push-to-hub OWNER/NAME --private
    """
    if (private or dry_run) and not repo:
        raise click.UsageError("--private and --dry-run go with --push-to-hub")
    from auditor.checkpoints import check_repo, export_checkpoint, push
    from auditor.checkpoints.wording import is_gain, verdict_words
    from auditor.cli.database import open_settings
    from auditor.db.checkpoints import load_checkpoint

    if repo:
        check_repo(repo)
    row = load_checkpoint(open_settings(), number)
    for path in export_checkpoint(row, out):
        click.echo(str(path))
    if not is_gain(row):
        click.echo(verdict_words(row), err=True)
    for line in push(out, repo, private=private, dry_run=dry_run) if repo else ():
        click.echo(line)


@command.command()
@click.argument("number", metavar="ID", type=Number())
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A .png, .svg or .pdf file.",
)
def plot(number: int, output: Path) -> None:
    """Draw a run's clean and PGD accuracy, gap and loss by epoch, and C before and after.

    \b
    Examples:
      auditor checkpoints plot 7 -o checkpoint-7.png
    """
    from auditor.checkpoints.wording import recipe_words, verdict_words
    from auditor.cli.database import open_settings
    from auditor.db.checkpoints import load_checkpoint
    from auditor.plots import draw_boost, save

    engine = open_settings()
    row = load_checkpoint(engine, number)
    details = [_detail(engine, row[when]) for when in ("before", "after")]
    before, after = (detail.clusterings.get("weights") if detail else None for detail in details)
    known = next((detail for detail in details if detail), None)
    figure = draw_boost(
        f"{row['checkpoint']}, fine-tuned from {row['model']}",
        f"{recipe_words(row['recipe'])}. {verdict_words(row)}",
        row["history"],
        row["best"],
        before,
        after,
        known.classes if known else (),
        known.superclasses if known else (),
    )
    save(figure, output)
    click.echo(str(output))


def _detail(engine: "Engine", audit: dict[str, Any] | None) -> "Detail | None":
    from auditor.db.results import load_detail

    return load_detail(engine, audit["audit"]) if audit else None
