"""``auditor results``: list, show, compare, export and plot what the database holds."""

from pathlib import Path
from typing import Any

import click

from auditor.cli.compare import compare
from auditor.cli.numbers import Count
from auditor.cli.options import FORMAT, PROTOCOL, filters


@click.group("results")
def command() -> None:
    """What the audits found."""


command.add_command(compare)


@command.command("list")
@filters
@click.option("--sort", default="-robust_accuracy", show_default=True, help="A column; - in front: largest first.")
@click.option("--limit", type=Count(), metavar="N", help="Only the first N rows.")
@click.option(
    "--format", "shape", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True,
    help="A table for people, one JSON array, or CSV.",
)  # fmt: skip
def list_rows(sort: str, limit: int | None, shape: str, **chosen: Any) -> None:
    """The newest result of each model, data set, protocol and setting.

    In the table `#` ranks the rows shown by robust accuracy: filters and --limit change it.

    \b
    Examples:
      auditor results list
      auditor results list --protocol standard --unflagged --sort -gap
      auditor results list --match 'demo:at-*' --format json
    """
    from auditor.cli.database import open_settings
    from auditor.cli.output.tables import as_csv, print_json, print_results
    from auditor.db.results import Filter, count_audits, list_results
    from auditor.results.serialize import serialize_row

    engine = open_settings()
    rows = list_results(engine, Filter(**chosen), sort=sort, limit=limit)
    if shape == "json":
        print_json([serialize_row(row) for row in rows])
    elif shape == "csv":
        click.echo(as_csv([serialize_row(row) for row in rows]), nl=False)
    elif rows:
        print_results(rows)
    else:
        stored = count_audits(engine)
        hint = f"none of the {stored} audits stored match" if stored else "`auditor scan demo` makes some"
        click.echo(f"no results: {hint}", err=True)


@command.command()
@click.argument("model")
@click.option("--protocol", type=PROTOCOL, help="The result of this protocol; by default the one with most images.")
@click.option(
    "--id", "audit_id", type=click.IntRange(1, 2**31 - 1), help="This very audit, by the id that --format json shows."
)
@FORMAT
def show(model: str, protocol: str | None, audit_id: int | None, shape: str) -> None:
    """Everything about one model's newest result: attacks, scores, flags, provenance.

    \b
    Examples:
      auditor results show demo:at-eps0.10
      auditor results show demo:saturated --protocol quick --format json
    """
    from auditor.cli.database import find_detail
    from auditor.cli.output.audit import print_detail
    from auditor.cli.output.tables import print_json
    from auditor.results.serialize import serialize_detail

    detail = find_detail(model, protocol, audit_id)
    if shape == "json":
        print_json([serialize_detail(detail)])
    else:
        print_detail(detail)


@command.command()
@filters
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout by default.")
@click.option(
    "--format", "shape", type=click.Choice(["json", "csv"]), default="json", show_default=True,
    help="JSON holds everything, matrices and attacks too; CSV holds the rows.",
)  # fmt: skip
def export(output: Path | None, shape: str, **chosen: Any) -> None:
    """Write results with all that belongs to them, for other programs.

    \b
    Examples:
      auditor results export -o results.json
      auditor results export --format csv --history -o history.csv
    """
    import json

    from auditor.cli.database import open_settings
    from auditor.cli.output.tables import as_csv
    from auditor.db.results import Filter, list_results, load_detail
    from auditor.errors import UsageError
    from auditor.results.serialize import nan_to_none, pruned_kinds, serialize_detail, serialize_row

    engine = open_settings()
    rows = list_results(engine, Filter(**chosen), sort="started_at")
    if shape == "csv":
        text = as_csv([serialize_row(row) for row in rows])
    else:
        details = [load_detail(engine, row.id) for row in rows]
        text = json.dumps([nan_to_none(serialize_detail(detail)) for detail in details], indent=1) + "\n"
        if gone := sum(bool(pruned_kinds(detail)) for detail in details):
            click.echo(f"{gone} of {len(rows)} results without their matrices, which were pruned", err=True)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"{len(rows)} results in {output}", err=True)


@command.command()
@click.argument("model", required=False)
@click.option("--zoo", is_flag=True, help="All models: gap against robust accuracy.")
@click.option("--source", help="With --zoo: only models of this source.")
@click.option("--protocol", type=PROTOCOL, help="The results of this protocol; with --zoo quick by default.")
@click.option(
    "--id", "audit_id", type=click.IntRange(1, 2**31 - 1), help="This very audit, by the id that --format json shows."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A .png, .svg or .pdf file.",
)
def plot(
    model: str | None, zoo: bool, source: str | None, protocol: str | None, audit_id: int | None, output: Path
) -> None:
    """Draw one model's C and F with dendrograms, or a zoo's gap against robust accuracy.

    \b
    Examples:
      auditor results plot demo:at-eps0.10 -o heatmap.png
      auditor results plot --zoo -o zoo.png
      auditor results plot --zoo --protocol standard -o zoo.pdf
    """
    if zoo == bool(model):
        raise click.UsageError("expected either a MODEL or --zoo")
    if (source and not zoo) or (audit_id and zoo):
        raise click.UsageError("--source goes with --zoo, --id with a MODEL")
    from auditor.cli.database import find_detail, open_settings
    from auditor.cli.output.plots import model_figure, zoo_figure
    from auditor.plots import save

    save(
        zoo_figure(open_settings(), source, protocol or "quick")
        if zoo
        else model_figure(find_detail(model or "", protocol, audit_id)),
        output,
    )
    click.echo(str(output))
